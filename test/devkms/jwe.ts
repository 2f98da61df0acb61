/**
 * JWE in compact form (RFC 7516) with `dir` and AES-GCM (RFC 7518, sections 4.5 and 5.3), as the OKMS REST API makes
 * it: the key's id in the header, which is authenticated. Own code on node:crypto, independent of src/.
 */
import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from "node:crypto";

/** A key as JWE needs it. */
export interface JweKey {
  /** `kid` of the header. */
  readonly id: string;
  /** Of 16, 24 or 32 bytes. */
  readonly secret: KeyObject;
}

interface JweHeader {
  readonly alg: string;
  readonly enc: string;
  readonly kid: string;
}

type GcmCipher = "aes-128-gcm" | "aes-192-gcm" | "aes-256-gcm";

const ivBytes = 12;
const tagBytes = 16;

/** Encrypts under a fresh IV. */
export function sealJwe(key: JweKey, plaintext: Uint8Array): string {
  const header = encode(JSON.stringify({ alg: "dir", enc: encOf(key), kid: key.id } satisfies JweHeader));
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv(cipherOf(key), key.secret, iv);
  cipher.setAAD(Buffer.from(header, "ascii"));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return [header, "", encode(iv), encode(ciphertext), encode(cipher.getAuthTag())].join(".");
}

/** Decrypts. Undefined where the JWE is malformed, of another key, or tampered with. */
export function openJwe(key: JweKey, jwe: string): Buffer | undefined {
  const parts = jwe.split(".");
  const [header = "", encryptedKey = "", iv = "", ciphertext = "", tag = ""] = parts;
  if (parts.length !== 5 || encryptedKey !== "" || !isOwnHeader(header, key)) return undefined;
  const ivRaw = decode(iv);
  const tagRaw = decode(tag);
  const data = decode(ciphertext);
  if (ivRaw?.length !== ivBytes || tagRaw?.length !== tagBytes || data === undefined) return undefined;
  const decipher = createDecipheriv(cipherOf(key), key.secret, ivRaw);
  decipher.setAAD(Buffer.from(header, "ascii"));
  decipher.setAuthTag(tagRaw);
  try {
    return Buffer.concat([decipher.update(data), decipher.final()]);
  } catch {
    return undefined;
  }
}

/** The header of a JWE, unverified; undefined where it has none that can be read. */
export function jweHeader(jwe: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const header = JSON.parse(decode(jwe.split(".")[0] ?? "")?.toString("utf8") ?? "") as unknown;
    return typeof header === "object" && header !== null ? (header as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function isOwnHeader(encoded: string, key: JweKey): boolean {
  const header = jweHeader(encoded);
  return header?.["alg"] === "dir" && header["enc"] === encOf(key) && header["kid"] === key.id;
}

function bitsOf(key: JweKey): number {
  return (key.secret.symmetricKeySize ?? 0) * 8;
}

function encOf(key: JweKey): string {
  return `A${bitsOf(key)}GCM`;
}

function cipherOf(key: JweKey): GcmCipher {
  return `aes-${bitsOf(key)}-gcm` as GcmCipher;
}

function encode(bytes: string | Uint8Array): string {
  return Buffer.from(bytes as Uint8Array).toString("base64url");
}

/** Strict: Node alone would take padding, spaces, and both alphabets. */
function decode(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : undefined;
}

/**
 * PKCS #12 files (RFC 7292), as `openssl pkcs12 -export`, Java and Windows write them: the private key and the
 * certificates. OpenSSL decrypts the key; the certificates are decrypted here, for Node has no function that gives them.
 * Leaves out the MAC (a wrong password fails at the key), BER, CRLs, and the broken cipher RC2.
 */
import { createDecipheriv, createHash, createPrivateKey, pbkdf2Sync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import {
  childrenOf,
  contentOf,
  type DerItem,
  DerTag,
  integerOf,
  oidOf,
  readDer,
  readDerItems,
} from "./der.ts";

/** Why a file cannot be read: the password is wrong or missing, its cipher is too old, or its bytes make no sense. */
export type Pkcs12Reason = "password" | "cipher" | "damaged";

/** What a file holds. */
export interface Pkcs12 {
  /** Undefined where there is none. */
  readonly key: KeyObject | undefined;
  /** DER, in the order of the file. */
  readonly certificates: readonly Buffer[];
}

/** The content type `data` of PKCS #7, and `encryptedData`. */
const contentTypes = { data: "1.2.840.113549.1.7.1", encrypted: "1.2.840.113549.1.7.6" } as const;
/** Types of bags (PKCS #12, section 4.2), and of the certificate within one. */
const bags = {
  key: "1.2.840.113549.1.12.10.1.1",
  shroudedKey: "1.2.840.113549.1.12.10.1.2",
  certificate: "1.2.840.113549.1.12.10.1.3",
  nested: "1.2.840.113549.1.12.10.1.6",
  x509: "1.2.840.113549.1.9.22.1",
} as const;
const pbes2 = "1.2.840.113549.1.5.13";
const pbeSha1And3Des = "1.2.840.113549.1.12.1.3";
/** RC2 and RC4 in several lengths. */
const brokenCiphers = /^1\.2\.840\.113549\.1\.12\.1\.[12456]$/;
const digests: Readonly<Record<string, string>> = {
  "1.2.840.113549.2.7": "sha1",
  "1.2.840.113549.2.8": "sha224",
  "1.2.840.113549.2.9": "sha256",
  "1.2.840.113549.2.10": "sha384",
  "1.2.840.113549.2.11": "sha512",
};
/** Name of Node's, and the length of the key in bytes. */
const ciphers: Readonly<Record<string, readonly [name: string, keyBytes: number]>> = {
  "2.16.840.1.101.3.4.1.2": ["aes-128-cbc", 16],
  "2.16.840.1.101.3.4.1.22": ["aes-192-cbc", 24],
  "2.16.840.1.101.3.4.1.42": ["aes-256-cbc", 32],
  "1.2.840.113549.3.7": ["des-ede3-cbc", 24],
};
/** More would keep this process busy for seconds. */
const maxIterations = 5_000_000;
const maxDepth = 4;

/** A file that cannot be read. */
export class Pkcs12Error extends Error {
  override readonly name = "Pkcs12Error";
  readonly reason: Pkcs12Reason;

  constructor(reason: Pkcs12Reason) {
    super(reason);
    this.reason = reason;
  }
}

/** Whether a file is PKCS #12: a SEQUENCE of version 3 and a PKCS #7 content. */
export function isPkcs12(bytes: Buffer): boolean {
  try {
    const [version, authSafe] = childrenOf(readDer(bytes), DerTag.sequence);
    return (
      integerOf(version) === 3 &&
      oidOf(childrenOf(authSafe, DerTag.sequence)[0]).startsWith("1.2.840.113549.1.7.")
    );
  } catch {
    return false;
  }
}

/** Reads a file. @throws Pkcs12Error */
export function readPkcs12(bytes: Buffer, password: string): Pkcs12 {
  try {
    const [, authSafe] = childrenOf(readDer(bytes), DerTag.sequence);
    const found: Found = { key: undefined, certificates: [] };
    for (const content of childrenOf(readDer(dataOf(authSafe)), DerTag.sequence))
      readBags(safeContents(content, password), password, found, 0);
    return found;
  } catch (error) {
    throw error instanceof Pkcs12Error ? error : new Pkcs12Error("damaged");
  }
}

interface Found {
  key: KeyObject | undefined;
  readonly certificates: Buffer[];
}

/** The octets of a PKCS #7 content of type `data`. */
function dataOf(content: DerItem | undefined): Buffer {
  const [type, value] = childrenOf(content, DerTag.sequence);
  if (oidOf(type) !== contentTypes.data) throw new Pkcs12Error("damaged");
  return contentOf(readDer(contentOf(value, 0xa0)), DerTag.octetString);
}

function safeContents(content: DerItem, password: string): Buffer {
  const [type, value] = childrenOf(content, DerTag.sequence);
  if (oidOf(type) !== contentTypes.encrypted) return dataOf(content);
  const [, encrypted] = childrenOf(readDer(contentOf(value, 0xa0)), DerTag.sequence);
  const [, algorithm, octets] = childrenOf(encrypted, DerTag.sequence);
  return decrypt(algorithm, contentOf(octets, 0x80), password);
}

function readBags(contents: Buffer, password: string, found: Found, depth: number): void {
  if (depth > maxDepth) throw new Pkcs12Error("damaged");
  for (const bag of childrenOf(readDer(contents), DerTag.sequence)) {
    const [type, explicit] = childrenOf(bag, DerTag.sequence);
    const value = contentOf(explicit, 0xa0);
    switch (oidOf(type)) {
      case bags.key:
      case bags.shroudedKey:
        found.key ??= readKey(value, password);
        break;
      case bags.certificate: {
        const [kind, certificate] = childrenOf(readDer(value), DerTag.sequence);
        if (oidOf(kind) === bags.x509)
          found.certificates.push(contentOf(readDer(contentOf(certificate, 0xa0)), DerTag.octetString));
        break;
      }
      case bags.nested:
        readBags(value, password, found, depth + 1);
    }
  }
}

function readKey(der: Buffer, passphrase: string): KeyObject {
  try {
    return createPrivateKey({ key: der, format: "der", type: "pkcs8", passphrase });
  } catch {
    // Without a cause: what OpenSSL says of a key is not for a log.
    throw new Pkcs12Error("password");
  }
}

function decrypt(algorithm: DerItem | undefined, octets: Buffer, password: string): Buffer {
  const { name, key, iv } = cipherOf(algorithm, password);
  try {
    const decipher = createDecipheriv(name, key, iv);
    const plain = Buffer.concat([decipher.update(octets), decipher.final()]);
    // A wrong password passes the padding once in 256 times.
    readDerItems(plain);
    return plain;
  } catch {
    throw new Pkcs12Error("password");
  }
}

interface Cipher {
  readonly name: string;
  readonly key: Buffer;
  readonly iv: Buffer;
}

function cipherOf(algorithm: DerItem | undefined, password: string): Cipher {
  const [type, parameters] = childrenOf(algorithm, DerTag.sequence);
  const oid = oidOf(type);
  if (brokenCiphers.test(oid)) throw new Pkcs12Error("cipher");
  const [first, second] = childrenOf(parameters, DerTag.sequence);
  if (oid === pbeSha1And3Des) {
    const salt = contentOf(first, DerTag.octetString);
    const derive = (id: number, length: number): Buffer =>
      deriveKey(id, password, salt, iterationsOf(second), length);
    return { name: "des-ede3-cbc", key: derive(1, 24), iv: derive(2, 8) };
  }
  if (oid !== pbes2) throw new Pkcs12Error("cipher");
  const [, kdf] = childrenOf(first, DerTag.sequence);
  const [salt, iterations, ...rest] = childrenOf(kdf, DerTag.sequence);
  const prf = rest.find(({ tag }) => tag === DerTag.sequence);
  const digest = prf === undefined ? "sha1" : digests[oidOf(childrenOf(prf, DerTag.sequence)[0])];
  const [cipher, iv] = childrenOf(second, DerTag.sequence);
  const [name, keyBytes] = ciphers[oidOf(cipher)] ?? [];
  if (digest === undefined || name === undefined || keyBytes === undefined) throw new Pkcs12Error("cipher");
  const saltBytes = contentOf(salt, DerTag.octetString);
  const key = pbkdf2Sync(password, saltBytes, iterationsOf(iterations), keyBytes, digest);
  return { name, key, iv: contentOf(iv, DerTag.octetString) };
}

function iterationsOf(item: DerItem | undefined): number {
  const iterations = integerOf(item);
  if (iterations < 1 || iterations > maxIterations) throw new Pkcs12Error("damaged");
  return iterations;
}

/** The key derivation of PKCS #12 itself (RFC 7292, appendix B.2), with SHA-1. */
function deriveKey(id: number, password: string, salt: Buffer, iterations: number, length: number): Buffer {
  const blockBytes = 64;
  const fill = (bytes: Buffer): Buffer => {
    const filled = Buffer.alloc(Math.ceil(bytes.length / blockBytes) * blockBytes);
    return bytes.length === 0 ? filled : filled.fill(bytes);
  };
  // UTF-16, big-endian, with a final NUL.
  const secret = Buffer.from(`${password}\0`, "utf16le").swap16();
  let input = Buffer.concat([fill(salt), fill(secret)]);
  const out: Buffer[] = [];
  for (let made = 0; made < length; made += 20) {
    let block = Buffer.concat([Buffer.alloc(blockBytes, id), input]);
    for (let round = 0; round < iterations; round += 1) block = createHash("sha1").update(block).digest();
    out.push(block);
    const addend = BigInt(`0x${Buffer.alloc(blockBytes, block).toString("hex")}`) + 1n;
    input = Buffer.concat(
      Array.from({ length: input.length / blockBytes }, (_, index) => {
        const part = input.subarray(index * blockBytes, (index + 1) * blockBytes).toString("hex");
        const sum = BigInt.asUintN(blockBytes * 8, BigInt(`0x${part}`) + addend);
        return Buffer.from(sum.toString(16).padStart(blockBytes * 2, "0"), "hex");
      }),
    );
  }
  return Buffer.concat(out).subarray(0, length);
}

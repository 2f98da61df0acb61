/**
 * The form of a JWE in compact form (RFC 7516, section 7.1): five base64url parts, and how long a plaintext they can hold.
 * Only the KMS can decrypt it; this file checks what can be checked without the key.
 */
import * as v from "valibot";

/** header.encrypted key.iv.ciphertext.tag: with `dir` the encrypted key is empty, and an empty text has no ciphertext. */
const compactForm = /^[\w-]+\.[\w-]*\.[\w-]+\.[\w-]*\.[\w-]+$/;

/** Whether a text has the form of a compact JWE. */
export function isCompactJwe(text: string): boolean {
  return compactForm.test(text);
}

const header = v.object({ enc: v.string(), zip: v.optional(v.unknown()) });

/** The block of AES-CBC, which pads by 1 to 16 bytes. */
const blockBytes = 16;

/**
 * The shortest and the longest plaintext that a compact JWE can hold, in bytes, by its content encryption (RFC 7518,
 * section 5.1). Undefined where its header does not say, or the plaintext was compressed.
 */
export function plaintextBytes(jwe: string): { readonly least: number; readonly most: number } | undefined {
  const [head = "", , , ciphertext = ""] = jwe.split(".");
  // The KMS writes the same header each time.
  if (head !== last.head) last = { head, padding: paddingOf(head) };
  if (last.padding === undefined) return undefined;
  const length = Buffer.byteLength(ciphertext, "base64url");
  return { least: length - last.padding.most, most: length - last.padding.least };
}

interface Padding {
  readonly least: number;
  readonly most: number;
}

let last: { readonly head: string; readonly padding: Padding | undefined } = { head: "", padding: undefined };

/** How many bytes a content encryption adds; undefined where the header does not say, or the plaintext was compressed. */
function paddingOf(head: string): Padding | undefined {
  const parsed = v.safeParse(header, parseHeader(head));
  if (!parsed.success || parsed.output.zip !== undefined) return undefined;
  if (/^A\d{3}GCM$/.test(parsed.output.enc)) return { least: 0, most: 0 };
  if (/^A\d{3}CBC-HS\d{3}$/.test(parsed.output.enc)) return { least: 1, most: blockBytes };
  return undefined;
}

function parseHeader(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, "base64url").toString("utf8")) as unknown;
  } catch {
    return undefined;
  }
}

/**
 * PEM files (RFC 7468): read with a bound, split into blocks, and, where one is not what it should be, told
 * apart by what it is instead. Says nothing about what the blocks hold.
 */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { ProviderError } from "../errors.ts";

/** Bundles of all public CAs are some 250 KB. */
const maxFileBytes = 1024 * 1024;

/**
 * Reads a file of at most 1 MiB.
 * @throws TLS_FILES where it can't be read, is empty, or too long
 */
export async function readPemFile(file: string): Promise<Buffer> {
  const bytes = await readBounded(file).catch((error: unknown) => {
    throw new ProviderError("TLS_FILES", `${file}: ${readFailure(error)}`);
  });
  if (bytes === undefined) throw new ProviderError("TLS_FILES", `${file}: is longer than 1 MiB`);
  if (bytes.length === 0) throw new ProviderError("TLS_FILES", `${file}: is empty`);
  return bytes;
}

/**
 * Reads a regular file of at most 1 MiB; undefined where it is longer.
 * @throws what the file system says, EISDIR for what is no file
 */
export async function readBounded(file: string): Promise<Buffer | undefined> {
  // O_NONBLOCK: a named pipe that nobody writes to would hold a thread of the pool for ever.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw Object.assign(new Error("no file"), { code: "EISDIR" });
    return stat.size > maxFileBytes ? undefined : await handle.readFile();
  } finally {
    await handle.close();
  }
}

const readFailures: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file",
  EISDIR: "is not a file",
  ELOOP: "is a symbolic link that leads to itself",
  ENAMETOOLONG: "the path is too long",
};

function readFailure(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
  if (code === "EACCES" || code === "EPERM")
    return `can't be read by this user (uid ${process.getuid?.() ?? "unknown"}): permission denied`;
  return readFailures[code] ?? `can't be read (${code})`;
}

const certificate =
  /(?<=^|^\u00EF\u00BB\u00BF)-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]+-----END (?:TRUSTED |X509 )?CERTIFICATE-----/gm;
const privateKey = /-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----[^-]+-----END \1-----/;

/** The certificates of a file, in its order. */
export function certificateBlocks(pem: Buffer): string[] {
  return pem.toString("latin1").match(certificate) ?? [];
}

/** How many certificates a file begins; more than its blocks where one is cut, or not on lines of its own. */
export function certificateCount(pem: Buffer): number {
  return pem.toString("latin1").split(/-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/).length - 1;
}

/** The first private key of a file. */
export function privateKeyBlock(pem: Buffer): string | undefined {
  return privateKey.exec(pem.toString("latin1"))?.[0];
}

/** Whether a file holds a private key that asks for a passphrase (PKCS #8, or OpenSSL's own way). */
export function isEncryptedKey(pem: Buffer): boolean {
  return /-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED/.test(pem.toString("latin1"));
}

/** The whole length of the DER item that begins `bytes`: its length in one byte, or in the 1 or 2 after it. */
function derBytes(bytes: Buffer): number {
  const [, first = 0, high = 0, low = 0] = bytes;
  if (first === 0x82) return 4 + high * 0x100 + low;
  return first === 0x81 ? 3 + high : 2 + first;
}

/** What a file without the wanted block is, in words that say what to do. */
export function describeWrongPem(pem: Buffer, wanted: "certificate" | "private key"): string {
  const text = pem.toString("latin1");
  // DER: a SEQUENCE that is as long as the file.
  if (pem[0] === 0x30 && derBytes(pem) === pem.length)
    return `is DER, not PEM: convert it with "openssl ${wanted === "certificate" ? "x509" : "pkey"} -inform der -in … -out …"`;
  if (wanted === "certificate" && text.includes("PRIVATE KEY-----"))
    return "holds a private key, and no certificate: are certificate and key swapped?";
  if (wanted === "private key" && text.includes("CERTIFICATE-----"))
    return "holds a certificate, and no private key: are certificate and key swapped?";
  if (text.includes("-----BEGIN")) return `holds PEM, but no whole ${wanted}`;
  return `is not PEM: there is no "-----BEGIN" line`;
}

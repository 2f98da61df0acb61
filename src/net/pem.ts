/**
 * PEM files (RFC 7468): read with a bound, split into blocks, and, where one is not what it should be, identified
 * by what it is instead. Says nothing about what the blocks hold.
 */
import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";
import { ProviderError } from "../errors.ts";
import { quotePath, shellWord } from "../text/quote.ts";
import { childrenOf, DerTag, oidOf, readDerItems } from "./der.ts";
import { isPkcs12 } from "./pkcs12.ts";

/** Bundles of all public CAs are some 250 KB. */
const maxFileBytes = 1024 * 1024;

/**
 * Reads a file of at most 1 MiB.
 * @param label how messages call it. Default: its path.
 * @throws TLS_FILES where it cannot be read, is empty, or too long
 */
export async function readPemFile(file: string, label = quotePath(file)): Promise<Buffer> {
  const bytes = await readBounded(file).catch(async (error: unknown) => {
    throw new ProviderError("TLS_FILES", `${label}: ${readFailure(error)}${await ownerOf(file, error)}`);
  });
  if (bytes === undefined) throw new ProviderError("TLS_FILES", `${label}: is longer than 1 MiB`);
  if (bytes.length === 0) throw new ProviderError("TLS_FILES", `${label}: is empty`);
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
    const stats = await handle.stat();
    if (!stats.isFile()) throw Object.assign(new Error("no file"), { code: "EISDIR" });
    return stats.size > maxFileBytes ? undefined : await handle.readFile();
  } finally {
    await handle.close();
  }
}

const readFailures: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file",
  EISDIR: "is not a file",
  EFBIG: "is longer than 1 MiB",
  ELOOP: "is a symbolic link that leads to itself",
  ENAMETOOLONG: "the path is too long",
};

/** Why a file could not be read, in words that do not repeat its path. */
export function readFailure(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
  if (code === "EACCES" || code === "EPERM")
    return `permission denied (run as uid ${process.geteuid?.() ?? "unknown"})`;
  return readFailures[code] ?? `cannot be read (${code})`;
}

/** Of a file that may not be read: whose it is. Root without capabilities is refused too. Empty where it is not known. */
async function ownerOf(file: string, error: unknown): Promise<string> {
  if (!(error instanceof Error && "code" in error && error.code === "EACCES")) return "";
  const stats = await stat(file).catch(() => undefined);
  if (stats === undefined) return ", a folder of the path may not be entered";
  return `, file owner uid ${stats.uid}, mode ${(stats.mode & 0o7777).toString(8).padStart(4, "0")}`;
}

/** At the beginning of a line, or right after another block, as `cat` of files without a line end leaves it. */
const certificate =
  /(?<=^|^\u00EF\u00BB\u00BF|-----)-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]+-----END (?:TRUSTED |X509 )?CERTIFICATE-----/gm;
/** One that OpenSSL encrypted in its own way has headers, with hyphens in them. */
const privateKey = /-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----(?:(?!-----)[\s\S])+-----END \1-----/;

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

/** What a file without the wanted block is, in words that say what to do. */
export function describeWrongPem(file: string, bytes: Buffer, wanted: "certificate" | "private key"): string {
  const text = bytes.toString("latin1");
  if (/-----BEGIN (?:PKCS7|PKCS #7 SIGNED DATA|CMS)-----/.test(text)) return advisePkcs7(file, "pem");
  const der = describeDer(file, bytes, wanted);
  if (der !== undefined) return der;
  if (bytes.subarray(0, 4).equals(javaKeystore)) return "is a Java keystore: export it as PKCS #12";
  if (/^(?:\u00FF\u00FE|\u00FE\u00FF|-\0)/.test(text)) return "is text in UTF-16: save it as UTF-8";
  const spelling = describeSpelling(text);
  if (spelling !== undefined) return spelling;
  if (text.includes("-----BEGIN OPENSSH PRIVATE KEY-----"))
    return "holds a key in OpenSSH's own format: give the key that the certificate was requested with, in PEM";
  if (
    text.includes("-----BEGIN CERTIFICATE REQUEST-----") ||
    text.includes("-----BEGIN NEW CERTIFICATE REQUEST-----")
  )
    return `holds a certificate request, and no ${wanted}: give the certificate that was issued for it, and its key`;
  if (wanted === "certificate" && text.includes("PRIVATE KEY-----"))
    return "holds a private key, and no certificate: are certificate and key swapped?";
  if (wanted === "private key" && text.includes("CERTIFICATE-----"))
    return "holds a certificate, and no private key: are certificate and key swapped?";
  if (text.includes("-----BEGIN")) return `holds PEM, but no whole ${wanted}`;
  return `is not PEM: there is no "-----BEGIN" line`;
}

/** How PEM is written that came through another format; undefined where nothing of that kind is seen. */
export function describeSpelling(text: string): string | undefined {
  if (/^\s*LS0tLS1CRUdJTi/.test(text))
    return 'is PEM in base64, as in a kubeconfig or a Secret: decode it with "base64 -d"';
  if (/-----(?:\\r)?\\n/.test(text)) return 'has "\\n" in place of line ends, as in JSON: write real ones';
  if (/-----\r(?!\n)/.test(text)) return "has carriage returns in place of line ends: write line feeds";
  if (/^[ \t]+-----BEGIN/m.test(text)) return "has spaces before its lines: remove them";
  return undefined;
}

const javaKeystore = Buffer.from("feedfeed", "hex");
const signedData = "1.2.840.113549.1.7.2";

/** Undefined where the file is not one item of DER. */
function describeDer(file: string, bytes: Buffer, wanted: "certificate" | "private key"): string | undefined {
  try {
    const [whole, ...others] = readDerItems(bytes);
    const [first] = childrenOf(whole, DerTag.sequence);
    if (others.length > 0) return undefined;
    if (first?.tag === DerTag.oid && oidOf(first) === signedData) return advisePkcs7(file, "der");
    if (isPkcs12(bytes))
      return `is PKCS #12: take the CA out with "openssl pkcs12 -cacerts -nokeys -in ${shellWord(file)} -out ${shellWord(`${file}.pem`)}"`;
  } catch {
    return undefined;
  }
  const command = wanted === "certificate" ? "x509" : "pkey";
  return `is DER, not PEM: convert it with "openssl ${command} -inform der -in ${shellWord(file)} -out ${shellWord(`${file}.pem`)}"`;
}

function advisePkcs7(file: string, form: "der" | "pem"): string {
  const [from, to] = [shellWord(file), shellWord(`${file}.pem`)];
  return `is PKCS #7: take the certificates out with "openssl pkcs7 -inform ${form} -print_certs -in ${from} -out ${to}"`;
}

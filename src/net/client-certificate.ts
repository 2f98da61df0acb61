/**
 * The client's certificate and private key, out of PEM files or one PKCS #12 file, checked against one another. Both
 * come out as PEM without a password, the key's own certificate first and each certificate once.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { ProviderError } from "../errors.ts";
import { quotePath, shellWord } from "../text/quote.ts";
import {
  certificateBlocks,
  certificateCount,
  describeSpelling,
  describeWrongPem,
  isEncryptedKey,
  privateKeyBlock,
} from "./pem.ts";
import { isPkcs12, type Pkcs12, Pkcs12Error, readPkcs12 } from "./pkcs12.ts";

/** A file, and what it holds. */
export interface ReadFile {
  readonly path: string;
  readonly bytes: Buffer;
}

/** The certificate and its key, which belong together. */
export interface ClientCertificate {
  /** As the files have them, but each once; the key's own first. */
  readonly certificates: readonly X509Certificate[];
  /** PEM. */
  readonly cert: Buffer;
  /** PEM, not encrypted. */
  readonly key: Buffer;
}

/**
 * Reads both.
 * @param password of an encrypted key or a PKCS #12 file; undefined: none was given
 * @throws TLS_FILES, naming each file that is wrong and why
 */
export function readClientCertificate(
  cert: ReadFile,
  key: ReadFile,
  password: string | undefined,
): ClientCertificate {
  const errors: unknown[] = [];
  const certificates = attempt(() => clientCertificates(cert, password), errors);
  const privateKey = attempt(() => clientKey(key, password), errors);
  if (certificates === undefined || privateKey === undefined) throw joinErrors(errors);
  const ordered = inOrder(certificates, privateKey, cert, key);
  return {
    certificates: ordered,
    cert: pemOf(ordered),
    key: Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })),
  };
}

/** @throws Error where it cannot be parsed, or where OpenSSL parses it although its dates are none */
function readCertificate(content: string | Buffer): X509Certificate {
  const certificate = new X509Certificate(content);
  // Node turns an invalid date into some date: OpenSSL's text shows it.
  const { validFrom, validTo } = certificate;
  if ([validFrom, validTo].some((date) => Number.isNaN(Date.parse(date))))
    throw new Error("a date in it is none");
  return certificate;
}

/** PEM that OpenSSL reads as a whole, whatever stood around the certificates. */
export function pemOf(certificates: readonly X509Certificate[]): Buffer {
  return Buffer.from(certificates.map(String).join("").trimEnd());
}

/** The certificates of a PEM file. @throws TLS_FILES */
export function parseCertificates({ path, bytes }: ReadFile): X509Certificate[] {
  const blocks = certificateBlocks(bytes);
  // OpenSSL reads up to the first such block, and silently leaves out the rest.
  if (blocks.length > 0 && blocks.length < certificateCount(bytes))
    throw filesError(
      `${quotePath(path)}: a certificate in it is cut, or begins in the middle of a line: put each on lines of its own`,
    );
  if (blocks.length === 0)
    throw filesError(`${quotePath(path)}: ${describeWrongPem(path, bytes, "certificate")}`);
  return blocks.map((block, index) => {
    try {
      return readCertificate(block);
    } catch (error) {
      const why = describeSpelling(block) ?? `certificate ${index + 1} cannot be parsed: the file is damaged`;
      throw filesError(`${quotePath(path)}: ${why}`, error);
    }
  });
}

/** The error for files that are wrong. */
export function filesError(message: string, cause?: unknown): ProviderError {
  return new ProviderError("TLS_FILES", message, cause === undefined ? {} : { cause });
}

/** One error that names every file. */
export function joinErrors(errors: readonly unknown[]): ProviderError {
  const cause = errors.map((error) => (error instanceof Error ? error.cause : error)).find((one) => one);
  const messages = errors.map((error) => (error instanceof Error ? error.message : ""));
  return filesError([...new Set(messages)].join("; "), cause);
}

/** The result of a step; undefined where it threw, which is added to `errors`. */
export function attempt<T>(step: () => T, errors: unknown[]): T | undefined {
  try {
    return step();
  } catch (error) {
    errors.push(error);
    return undefined;
  }
}

function clientCertificates(file: ReadFile, password: string | undefined): X509Certificate[] {
  if (!isPkcs12(file.bytes)) return parseCertificates(file);
  const { certificates } = openPkcs12(file, password);
  if (certificates.length === 0)
    throw filesError(`${quotePath(file.path)}: is PKCS #12 without a certificate`);
  try {
    return certificates.map((der) => readCertificate(der));
  } catch (error) {
    throw filesError(
      `${quotePath(file.path)}: a certificate in it cannot be parsed: the file is damaged`,
      error,
    );
  }
}

function clientKey(file: ReadFile, password: string | undefined): KeyObject {
  const name = quotePath(file.path);
  if (isPkcs12(file.bytes)) {
    const { key } = openPkcs12(file, password);
    if (key === undefined) throw filesError(`${name}: is PKCS #12 without a private key`);
    return key;
  }
  const block = privateKeyBlock(file.bytes);
  if (block === undefined)
    throw filesError(`${name}: ${describeWrongPem(file.path, file.bytes, "private key")}`);
  if (!isEncryptedKey(Buffer.from(block))) return parseKey(name, block);
  if (password === undefined) {
    const [from, to] = [shellWord(file.path), shellWord(`${file.path}.plain`)];
    throw filesError(
      `${name}: the private key is encrypted: give its password with --client-key-password-file, or decrypt it with "openssl pkey -in ${from} -out ${to}"`,
    );
  }
  try {
    return createPrivateKey({ key: block, passphrase: password });
  } catch (error) {
    const isUnknown = error instanceof Error && "code" in error && error.code === "ERR_OSSL_EVP_UNSUPPORTED";
    const [from, to] = [shellWord(file.path), shellWord(`${file.path}.new`)];
    throw filesError(
      isUnknown
        ? `${name}: the private key is encrypted with an obsolete cipher: encrypt it again with "openssl pkcs8 -topk8 -v2 aes-256-cbc -provider legacy -provider default -in ${from} -out ${to}"`
        : `${name}: the password of --client-key-password-file does not open the private key`,
    );
  }
}

function parseKey(name: string, block: string): KeyObject {
  try {
    return createPrivateKey(block);
  } catch {
    // Without a cause: what OpenSSL says of a key is not for a log.
    throw filesError(`${name}: the private key cannot be parsed: the file is damaged, or of an unknown kind`);
  }
}

function openPkcs12({ path, bytes }: ReadFile, password: string | undefined): Pkcs12 {
  try {
    return readPkcs12(bytes, password ?? "");
  } catch (error) {
    const reason = error instanceof Pkcs12Error ? error.reason : "damaged";
    const isWithout = reason === "password" && password === undefined;
    throw filesError(
      `${quotePath(path)}: is PKCS #12, and ${isWithout ? needsPassword : explain(reason, path)}`,
    );
  }
}

const needsPassword = "needs its password: give it with --client-key-password-file";

function explain(reason: Pkcs12Error["reason"], path: string): string {
  if (reason === "password") return "the password of --client-key-password-file does not open it";
  if (reason === "damaged") return "cannot be parsed: the file is damaged";
  const [from, to] = [shellWord(path), shellWord(`${path}.pem`)];
  return `is encrypted with an obsolete cipher: convert it with "openssl pkcs12 -legacy -nodes -in ${from} -out ${to}", and give that file for --client-cert and --client-key`;
}

/** Each once, and the key's own first: a PKCS #12 file has no order, a PEM file has its author's. */
function inOrder(
  certificates: readonly X509Certificate[],
  key: KeyObject,
  certFile: ReadFile,
  keyFile: ReadFile,
): X509Certificate[] {
  const unique = [...new Map(certificates.map((one) => [one.fingerprint256, one])).values()];
  const own = unique.findIndex((one) => belongTogether(one, key));
  const [name, keyName] = [quotePath(certFile.path), quotePath(keyFile.path)];
  if (own === -1) throw filesError(`${keyName}: is not the private key of the certificate in ${name}`);
  const leaf = unique[own];
  if (own === 0 || leaf === undefined) return unique;
  if (!isPkcs12(certFile.bytes))
    throw filesError(
      `${name}: certificate ${certificates.indexOf(leaf) + 1} is the key's own: put it first in the file`,
    );
  return [leaf, ...unique.filter((one) => one !== leaf)];
}

function belongTogether(certificate: X509Certificate, key: KeyObject): boolean {
  try {
    return certificate.checkPrivateKey(key);
  } catch {
    return false;
  }
}

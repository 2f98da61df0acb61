/**
 * The PEM files of mutual TLS: read, checked against one another, and handed on as one material. Watching
 * them for changes is tls-reload.ts; whether a server takes the certificate is the server's to say.
 */
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { isIP } from "node:net";
import tls, {
  type ConnectionOptions,
  createSecureContext,
  DEFAULT_CIPHERS,
  type PeerCertificate,
  type SecureContext,
} from "node:tls";
import { ProviderError } from "../errors.ts";
import {
  certificateBlocks,
  certificateCount,
  describeWrongPem,
  isEncryptedKey,
  privateKeyBlock,
  readPemFile,
} from "./pem.ts";

/** What a TLS connection to the KMS is made with. Never printed: `cert`, `key` and `ca` are non-enumerable. */
export interface TlsMaterial {
  /** PEM of the client certificate and its chain. */
  readonly cert: Buffer;
  /** PEM of its private key. */
  readonly key: Buffer;
  /** PEM bundle to verify the server with; undefined: the system's roots. */
  readonly ca: Buffer | undefined;
  /** SHA-256 over all three, hexadecimal: tells two materials apart. */
  readonly fingerprint: string;
  /**
   * When the certificate that ends first in each file ends. In a bundle of CAs those that have ended already
   * don't count while another one is good: bundles are full of them.
   */
  readonly notAfter: readonly {
    readonly file: string;
    readonly notAfter: Date;
    /** When the client certificate begins to be valid. */
    readonly notBefore?: Date;
  }[];
}

/** Paths of the files. */
export interface TlsFiles {
  /** `--client-cert` */
  readonly cert: string;
  /** `--client-key` */
  readonly key: string;
  /** `--ca`; undefined: the system's roots. */
  readonly ca?: string | undefined;
}

/** What the files hold, not looked at yet. */
export interface TlsBytes {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer | undefined;
  /** SHA-256 over all three, hexadecimal. */
  readonly fingerprint: string;
}

/**
 * Reads and checks the files. Dates are not judged: see {@link dateTrouble}.
 * @throws TLS_FILES, naming each file that is wrong and why
 */
export async function loadTlsMaterial(files: TlsFiles): Promise<TlsMaterial> {
  return checkTlsBytes(files, await readTlsFiles(files));
}

/**
 * Reads the files.
 * @throws TLS_FILES, naming each file that can't be read and why
 */
export async function readTlsFiles(files: TlsFiles): Promise<TlsBytes> {
  const parts = await Promise.allSettled([
    readPemFile(files.cert),
    readPemFile(files.key),
    files.ca === undefined ? undefined : readPemFile(files.ca),
  ]);
  const [cert, key, ca] = parts;
  if (cert.status === "fulfilled" && key.status === "fulfilled" && ca.status === "fulfilled") {
    const fingerprint = fingerprintOf([cert.value, key.value, ca.value ?? Buffer.alloc(0)]);
    return { cert: cert.value, key: key.value, ca: ca.value, fingerprint };
  }
  throw joinErrors(parts.flatMap((part) => (part.status === "rejected" ? [part.reason] : [])));
}

/**
 * Checks what the files hold, each by itself and against one another.
 * @throws TLS_FILES, naming each file that is wrong and why
 */
export function checkTlsBytes(files: TlsFiles, bytes: TlsBytes): TlsMaterial {
  const errors: unknown[] = [];
  const cert = attempt(() => parseClientCertificate(files.cert, bytes.cert), errors);
  const key = attempt(() => parseKey(files.key, bytes.key), errors);
  const ca = attempt(() => parseAuthorities(files.ca, bytes.ca), errors);
  if (cert === undefined || key === undefined || errors.length > 0) throw joinErrors(errors);
  if (!belongTogether(cert.leaf, key))
    throw filesError(`${files.key}: is not the private key of the certificate in ${files.cert}`);
  checkUsable(files, bytes);
  return toMaterial(bytes, ca === undefined ? [cert.validity] : [cert.validity, ca]);
}

/**
 * What a connection is made with. Without a `ca` the system's own roots count, as in Go's programs; Node's where
 * the system has none.
 * @throws TLS_FILES where OpenSSL can't use the material
 */
export function secureContextOf({ cert, key, ca }: Pick<TlsMaterial, "cert" | "key" | "ca">): SecureContext {
  try {
    return createSecureContext({ cert, key, ca: ca ?? systemRoots(), minVersion, ciphers });
  } catch (error) {
    throw new ProviderError("TLS_FILES", "the client certificate, its key or the CA cannot be used", {
      cause: error,
    });
  }
}

const minVersion = "TLSv1.2";
/** Node's own but the key exchanges that keep no secret from who steals the server's key later. TLS 1.3 has none such. */
const ciphers = `${DEFAULT_CIPHERS}:!kRSA`;

/**
 * What every connection to a KMS is verified by: its chain, and its name against the Subject Alternative Names as in
 * RFC 9525, where a Common Name counts for nothing and a wildcard is a whole label. Said here, for Node's defaults
 * obey its environment (NODE_TLS_REJECT_UNAUTHORIZED).
 */
export const serverVerification = {
  rejectUnauthorized: true,
  minVersion,
  checkServerIdentity,
} as const satisfies ConnectionOptions;

/** Gives the error, as Node's own function of this name does. */
function checkServerIdentity(host: string, certificate: PeerCertificate): Error | undefined {
  const parsed = new X509Certificate(certificate.raw);
  const isNamed =
    isIP(host) === 0
      ? parsed.checkHost(host.replace(/\.$/, ""), { subject: "never", partialWildcards: false })
      : parsed.checkIP(host);
  if (isNamed !== undefined) return undefined;
  const code = "ERR_TLS_CERT_ALTNAME_INVALID";
  return Object.assign(new Error(`the certificate is not for ${host}`), { code, host, cert: certificate });
}

function systemRoots(): string[] | undefined {
  // Not imported by name: Node 20 has none of this name, and would end before main.ts could say what is needed.
  const roots = tls.getCACertificates("system");
  return roots.length > 0 ? roots : undefined;
}

/**
 * What the dates of a material say against it: one sentence for each certificate that has ended, or has not
 * begun, at `now`. Empty: nothing.
 */
export function dateTrouble(material: Pick<TlsMaterial, "notAfter">, now = new Date()): string[] {
  return material.notAfter.flatMap(({ file, notAfter, notBefore }) => {
    if (notAfter <= now) return [`${file}: the certificate has expired on ${notAfter.toISOString()}`];
    if (notBefore !== undefined && notBefore > now)
      return [
        `${file}: the certificate is not valid before ${notBefore.toISOString()} (is the clock right?)`,
      ];
    return [];
  });
}

type Validity = TlsMaterial["notAfter"][number];

function parseClientCertificate(file: string, pem: Buffer): { leaf: X509Certificate; validity: Validity } {
  const certificates = parseCertificates(file, pem);
  const [leaf] = certificates;
  if (leaf === undefined) throw filesError(`${file}: ${describeWrongPem(pem, "certificate")}`);
  return { leaf, validity: { file, notAfter: firstEnd(certificates), notBefore: leaf.validFromDate } };
}

function parseKey(file: string, pem: Buffer): KeyObject {
  if (isEncryptedKey(pem))
    throw filesError(`${file}: the private key is encrypted: decrypt it with "openssl pkey -in … -out …"`);
  const block = privateKeyBlock(pem);
  if (block === undefined) throw filesError(`${file}: ${describeWrongPem(pem, "private key")}`);
  try {
    return createPrivateKey(block);
  } catch {
    // Without a cause: what OpenSSL says of a key is not for a log.
    throw filesError(`${file}: the private key can't be parsed: the file is damaged, or of an unknown kind`);
  }
}

function parseAuthorities(file: string | undefined, pem: Buffer | undefined): Validity | undefined {
  if (file === undefined || pem === undefined) return undefined;
  const certificates = parseCertificates(file, pem);
  const [first] = certificates;
  if (first === undefined) throw filesError(`${file}: ${describeWrongPem(pem, "certificate")}`);
  if (!certificates.some((one) => one.ca || isSelfIssued(one)))
    throw filesError(`${file}: holds no CA: it begins with the certificate of ${oneLine(first.subject)}`);
  const now = new Date();
  const good = certificates.filter((one) => one.validToDate > now);
  return { file, notAfter: firstEnd(good.length > 0 ? good : certificates) };
}

/** A server's own certificate can be pinned as its CA where it is self-signed. */
function isSelfIssued(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate);
}

function parseCertificates(file: string, pem: Buffer): X509Certificate[] {
  const blocks = certificateBlocks(pem);
  // OpenSSL reads up to the first such block, and silently leaves out the rest.
  if (blocks.length > 0 && blocks.length < certificateCount(pem))
    throw filesError(
      `${file}: a certificate in it is cut, or begins in the middle of a line: put each on lines of its own`,
    );
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw filesError(`${file}: certificate ${index + 1} can't be parsed: the file is damaged`, error);
    }
  });
}

function firstEnd(certificates: readonly X509Certificate[]): Date {
  return new Date(Math.min(...certificates.map((one) => one.validToDate.getTime())));
}

function belongTogether(certificate: X509Certificate, key: KeyObject): boolean {
  try {
    return certificate.checkPrivateKey(key);
  } catch {
    return false;
  }
}

/** A certificate's name as a message may show it: without what breaks a line or turns it around. */
export function oneLine(subject: string | undefined): string {
  return (subject ?? "an unnamed subject").replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ", ");
}

/** OpenSSL's own judgement, which also knows of keys and digests that are too weak. */
function checkUsable(files: TlsFiles, { cert, key, ca }: TlsBytes): void {
  try {
    createSecureContext({ cert, key, ca });
  } catch (error) {
    const reason = error instanceof Error && "reason" in error ? String(error.reason) : "unknown reason";
    throw filesError(`${files.cert}: TLS can't be made with it: ${reason}`);
  }
}

function toMaterial({ cert, key, ca, fingerprint }: TlsBytes, notAfter: readonly Validity[]): TlsMaterial {
  const material: TlsMaterial = { cert, key, ca, fingerprint, notAfter };
  // Neither JSON nor util.inspect shows what can't be enumerated.
  for (const name of ["cert", "key", "ca"]) Object.defineProperty(material, name, { enumerable: false });
  return material;
}

function fingerprintOf(parts: readonly Buffer[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest("hex");
}

function attempt<T>(step: () => T, errors: unknown[]): T | undefined {
  try {
    return step();
  } catch (error) {
    errors.push(error);
    return undefined;
  }
}

/** One error that names every file. */
function joinErrors(errors: readonly unknown[]): ProviderError {
  const cause = errors.map((error) => (error instanceof Error ? error.cause : error)).find((one) => one);
  return filesError(errors.map((error) => (error instanceof Error ? error.message : "")).join("; "), cause);
}

function filesError(message: string, cause?: unknown): ProviderError {
  return new ProviderError("TLS_FILES", message, cause === undefined ? {} : { cause });
}

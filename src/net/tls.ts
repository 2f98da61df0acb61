/**
 * The files of mutual TLS: read, checked against one another, and handed on as one material; and what every TLS
 * connection to a KMS is made and verified with. Watching the files for changes is tls-reload.ts; whether a server
 * accepts the certificate is the server's decision.
 */
import { createHash, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import tls, {
  type ConnectionOptions,
  createSecureContext,
  DEFAULT_CIPHERS,
  type PeerCertificate,
  type SecureContext,
} from "node:tls";
import { ProviderError } from "../errors.ts";
import { quotePath } from "../text/quote.ts";
import type { ServerAddress } from "./address.ts";
import {
  attempt,
  type ClientCertificate,
  filesError,
  joinErrors,
  parseCertificates,
  pemOf,
  readClientCertificate,
} from "./client-certificate.ts";
import { readPemFile } from "./pem.ts";

/** What a connection to the KMS is made with. Never printed: all but fingerprint and dates is non-enumerable. */
export interface TlsMaterial {
  /** PEM of the client certificate and its chain. */
  readonly cert: Buffer;
  /** PEM of its private key, not encrypted. */
  readonly key: Buffer;
  /** PEM bundle to verify the server with; undefined: the system's roots. */
  readonly ca: Buffer | undefined;
  /** The password of --kmip-username; undefined: there is none. */
  readonly kmipPassword?: string | undefined;
  /** SHA-256 over all files, hexadecimal: differs between two materials. */
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
  /** `--client-cert`: PEM, or PKCS #12. */
  readonly cert: string;
  /** `--client-key`: PEM, or the same PKCS #12 file. */
  readonly key: string;
  /** `--client-key-password-file`; undefined: the key is not encrypted. */
  readonly keyPassword?: string | undefined;
  /** `--ca`; undefined: the system's roots. */
  readonly ca?: string | undefined;
  /** `--kmip-password-file`; undefined: no user name is sent. */
  readonly kmipPassword?: string | undefined;
}

/** What the files hold, not checked yet. */
export interface TlsBytes {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly keyPassword: string | undefined;
  readonly ca: Buffer | undefined;
  readonly kmipPassword: string | undefined;
  /** SHA-256 over all files, hexadecimal. */
  readonly fingerprint: string;
}

/**
 * Reads and checks the files. Dates are not judged: see {@link dateProblem}.
 * @throws TLS_FILES, naming each file that is wrong and why
 */
export async function loadTlsMaterial(files: TlsFiles): Promise<TlsMaterial> {
  return checkTlsBytes(files, await readTlsFiles(files));
}

/**
 * Reads the files.
 * @throws TLS_FILES, naming each file that cannot be read and why
 */
export async function readTlsFiles(files: TlsFiles): Promise<TlsBytes> {
  const parts = await Promise.allSettled([
    readPemFile(files.cert),
    readPemFile(files.key),
    readPassword(files.keyPassword, "--client-key-password-file"),
    files.ca === undefined ? undefined : readPemFile(files.ca),
    readPassword(files.kmipPassword, "--kmip-password-file"),
  ]);
  const errors = parts.flatMap((part) => (part.status === "rejected" ? [part.reason] : []));
  if (errors.length > 0) throw joinErrors(errors);
  const [cert, key, keyPassword, ca, kmipPassword] = parts.map((part) =>
    part.status === "fulfilled" ? part.value : undefined,
  );
  if (cert === undefined || key === undefined) throw filesError("certificate and key must be given");
  return {
    cert,
    key,
    keyPassword: passwordIn(keyPassword),
    ca,
    kmipPassword: passwordIn(kmipPassword),
    fingerprint: fingerprintOf([cert, key, keyPassword, ca, kmipPassword]),
  };
}

/** A path without a folder may be the password itself, given by mistake: it is called by its flag. */
function readPassword(path: string | undefined, flag: string): Promise<Buffer> | undefined {
  if (path === undefined) return undefined;
  return path.includes("/") ? readPemFile(path) : readPemFile(path, `the file of ${flag}`);
}

/** The password in a file: its first line, as OpenSSL reads `-passin file:`, without the mark that Windows begins UTF-8 with. */
function passwordIn(bytes: Buffer | undefined): string | undefined {
  return bytes
    ?.toString("utf8")
    .replace(/^\u{FEFF}/u, "")
    .split(/\r?\n/, 1)[0];
}

/**
 * Checks what the files hold, each by itself and against one another.
 * @throws TLS_FILES, naming each file that is wrong and why
 */
export function checkTlsBytes(files: TlsFiles, bytes: TlsBytes): TlsMaterial {
  const errors: unknown[] = [];
  const certFile = { path: files.cert, bytes: bytes.cert };
  const keyFile = { path: files.key, bytes: bytes.key };
  const client = attempt(() => readClientCertificate(certFile, keyFile, bytes.keyPassword), errors);
  const authorities = attempt(() => readAuthorities(files.ca, bytes.ca), errors);
  if (client === undefined || errors.length > 0) throw joinErrors(errors);
  checkUsable(files.cert, client);
  const validity = [clientValidity(files.cert, client.certificates), ...validityOf(files.ca, authorities)];
  return toMaterial(bytes, client, authorities && pemOf(authorities), validity);
}

/**
 * What a connection is made with. Each certificate of `ca` is trusted as it is, as in Go's programs: a root, an
 * intermediate, or the server's own. Without a `ca` the system's own roots are, and Node's where the system has none.
 * @throws TLS_FILES where OpenSSL can't use the material
 */
export function secureContextOf({ cert, key, ca }: Pick<TlsMaterial, "cert" | "key" | "ca">): SecureContext {
  try {
    const trust = ca === undefined ? { ca: systemRoots() } : { ca, allowPartialTrustChain: true };
    return createSecureContext({ cert, key, ...trust, minVersion, ciphers });
  } catch (error) {
    throw new ProviderError("TLS_FILES", "the client certificate, its key or the CA cannot be used", {
      cause: error,
    });
  }
}

/** The oldest version of TLS that is spoken. */
export const minVersion = "TLSv1.2";
/** Node's own but the key exchanges that keep no secret from who steals the server's key later. TLS 1.3 has none such. */
const ciphers = `${DEFAULT_CIPHERS}:!kRSA`;

/**
 * What every connection to a server of a KMS is made and verified with, besides its secure context: the server name in
 * the handshake where it is a name (servers refuse an address there, and a final dot); the chain; and the name against
 * the Subject Alternative Names as in RFC 9525, where a Common Name counts for nothing and a wildcard is a whole label.
 * All of it is said here, for Node's defaults obey its environment (NODE_TLS_REJECT_UNAUTHORIZED).
 */
export function serverVerification({ serverName }: Pick<ServerAddress, "serverName">) {
  return {
    rejectUnauthorized: true,
    minVersion,
    servername: isIP(serverName) === 0 ? serverName : "",
    checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
      checkIdentity(serverName, certificate),
  } as const satisfies ConnectionOptions;
}

/** Gives the error, as Node's checkServerIdentity does. */
function checkIdentity(name: string, certificate: PeerCertificate): Error | undefined {
  const parsed = new X509Certificate(certificate.raw);
  const isNamed =
    isIP(name) === 0
      ? parsed.checkHost(name, { subject: "never", partialWildcards: false })
      : parsed.checkIP(name);
  if (isNamed !== undefined) return undefined;
  const code = "ERR_TLS_CERT_ALTNAME_INVALID";
  return Object.assign(new Error(`the certificate is not for ${name}`), {
    code,
    host: name,
    cert: certificate,
  });
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
export function dateProblem(material: Pick<TlsMaterial, "notAfter">, now = new Date()): string[] {
  return material.notAfter.flatMap(({ file, notAfter, notBefore }) => {
    if (notAfter <= now) return [`${file}: the certificate expired on ${notAfter.toISOString()}`];
    if (notBefore !== undefined && notBefore > now)
      return [
        `${file}: the certificate is not valid before ${notBefore.toISOString()} (is the clock right?)`,
      ];
    return [];
  });
}

type Validity = TlsMaterial["notAfter"][number];

function clientValidity(file: string, certificates: readonly X509Certificate[]): Validity {
  const [leaf] = certificates;
  return {
    file,
    notAfter: firstEnd(certificates),
    ...(leaf !== undefined && { notBefore: leaf.validFromDate }),
  };
}

/** The certificates of the bundle; undefined where there is no bundle. @throws TLS_FILES */
function readAuthorities(path: string | undefined, bytes: Buffer | undefined): X509Certificate[] | undefined {
  return path === undefined || bytes === undefined ? undefined : parseCertificates({ path, bytes });
}

/** The dates of the bundle; none where there is no bundle. */
function validityOf(path: string | undefined, certificates: readonly X509Certificate[] = []): Validity[] {
  if (path === undefined || certificates.length === 0) return [];
  const now = new Date();
  const good = certificates.filter((one) => one.validToDate > now);
  return [{ file: path, notAfter: firstEnd(good.length > 0 ? good : certificates) }];
}

function firstEnd(certificates: readonly X509Certificate[]): Date {
  return new Date(Math.min(...certificates.map((one) => one.validToDate.getTime())));
}

/** A certificate's name as a message may show it: without what breaks a line or turns it around. */
export function oneLine(subject: string | undefined): string {
  return (subject ?? "an unnamed subject").replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ", ");
}

/** OpenSSL's reasons for refusing a certificate, with what to do. */
const unusable: Readonly<Record<string, string>> = {
  "ee key too small":
    "its key is too weak for TLS: have one issued with an RSA key of 2048 bits, or EC P-256",
  "ca key too small":
    "a CA in it has a key that is too weak for TLS: leave it out, or have the chain reissued",
  "ca md too weak": "it is signed with a digest too weak for TLS, as SHA-1: have it issued with SHA-256",
};

/** OpenSSL's own judgement, which also knows of keys and digests that are too weak. @throws TLS_FILES */
function checkUsable(file: string, { cert, key, certificates }: ClientCertificate): void {
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    const reason = error instanceof Error && "reason" in error ? String(error.reason) : "unknown reason";
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = certificates[0]?.publicKey ?? {};
    const kind = details?.modulusLength === undefined ? type : `${type} ${details.modulusLength} bits`;
    throw filesError(
      `${quotePath(file)}: the certificate (${kind ?? "unknown key"}) cannot be used: ${unusable[reason] ?? reason}`,
    );
  }
}

function toMaterial(
  { kmipPassword, fingerprint }: TlsBytes,
  { cert, key }: ClientCertificate,
  ca: Buffer | undefined,
  notAfter: readonly Validity[],
): TlsMaterial {
  const material: TlsMaterial = { cert, key, ca, kmipPassword, fingerprint, notAfter };
  // Neither JSON nor util.inspect shows what can't be enumerated.
  for (const name of ["cert", "key", "ca", "kmipPassword"])
    Object.defineProperty(material, name, { enumerable: false });
  return material;
}

function fingerprintOf(parts: readonly (Buffer | undefined)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${part?.length ?? -1}:`).update(part ?? "");
  return hash.digest("hex");
}

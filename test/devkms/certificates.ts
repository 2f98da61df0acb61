/**
 * Certificates for tests and for `npm run dev`: an authority of one's own, and what it issues, on EC P-256.
 * Nothing that is made here is committed, or meant to be trusted outside the machine.
 */
// oxlint-disable-next-line import/no-unassigned-import -- decorators in @peculiar/x509 need it loaded before them
import "reflect-metadata";
import { type webcrypto, randomBytes, subtle } from "node:crypto";
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import * as x509 from "@peculiar/x509";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const dayMs = 86_400_000;

/** What a certificate is to say. */
export interface CertificateOptions {
  readonly commonName: string;
  /** Subject Alternative Names of kind DNS. Default: none. */
  readonly dnsNames?: readonly string[];
  /** Subject Alternative Names of kind IP. Default: none. */
  readonly ipAddresses?: readonly string[];
  /** Extended Key Usage serverAuth. Default: false. */
  readonly server?: boolean;
  /** Extended Key Usage clientAuth. Default: what `server` is not. */
  readonly client?: boolean;
  /** No Extended Key Usage at all. Default: false. */
  readonly withoutExtendedUsage?: boolean;
  /** Default: an hour ago. */
  readonly notBefore?: Date;
  /** Default: in a year. */
  readonly notAfter?: Date;
}

/** A certificate with its private key (PKCS #8), both as PEM. */
export interface IssuedCertificate {
  readonly cert: string;
  readonly key: string;
}

/** One that issues certificates. */
export interface Authority {
  /** Its own certificate, self-signed. */
  readonly caPem: string;
  issue(options: CertificateOptions): Promise<IssuedCertificate>;
}

/** Paths of PEM files, as the command line of the plugin takes them. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

interface AuthorityKey {
  readonly cert: x509.X509Certificate;
  readonly privateKey: webcrypto.CryptoKey;
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = x509.PemConverter.decodeFirst(pem);
  return subtle.importKey("pkcs8", der, algorithm, true, ["sign"]);
}

/** A serial number of 16 bytes, positive and with no leading zero, as DER wants it. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = 0x40 | ((bytes[0] ?? 0) & 0x3f);
  return bytes.toString("hex");
}

function alternativeNames({ dnsNames = [], ipAddresses = [] }: CertificateOptions): x509.Extension[] {
  const names = [
    ...dnsNames.map((value) => ({ type: "dns" as const, value })),
    ...ipAddresses.map((value) => ({ type: "ip" as const, value })),
  ];
  return names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)];
}

function extendedUsage({ server = false, client = !server }: CertificateOptions): x509.Extension {
  return new x509.ExtendedKeyUsageExtension([
    ...(server ? [x509.ExtendedKeyUsage.serverAuth] : []),
    ...(client ? [x509.ExtendedKeyUsage.clientAuth] : []),
  ]);
}

async function issue(authority: AuthorityKey, options: CertificateOptions): Promise<IssuedCertificate> {
  const keys = await subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const cert = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [options.commonName] }],
    issuer: authority.cert.subjectName,
    notBefore: options.notBefore ?? new Date(Date.now() - 3_600_000),
    notAfter: options.notAfter ?? new Date(Date.now() + 365 * dayMs),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey: authority.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      ...(options.withoutExtendedUsage === true ? [] : [extendedUsage(options)]),
      ...alternativeNames(options),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(authority.cert.publicKey),
    ],
  });
  return { cert: cert.toString("pem"), key: await exportKey(keys.privateKey) };
}

async function createAuthorityKey(name: string): Promise<AuthorityKey> {
  const keys = await subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [name] }],
    notBefore: new Date(Date.now() - dayMs),
    notAfter: new Date(Date.now() + 3650 * dayMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert, privateKey: keys.privateKey };
}

function toAuthority(key: AuthorityKey): Authority {
  return { caPem: key.cert.toString("pem"), issue: (options) => issue(key, options) };
}

/** Makes an authority that lives as long as the process. */
export async function createAuthority(options: { readonly name?: string } = {}): Promise<Authority> {
  return toAuthority(await createAuthorityKey(options.name ?? "okms development authority"));
}

/** Opens the authority of `folder`, made there (0700, its files 0600) where there is none yet. */
export async function openAuthority(folder: string): Promise<Authority> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  const file = path.join(folder, "authority.pem");
  const kept = await readFile(file, "utf8").catch(() => undefined);
  if (kept !== undefined) {
    const [keyPem = "", certPem = ""] = kept.split(/(?<=-----END PRIVATE KEY-----\n)/);
    return toAuthority({ cert: new x509.X509Certificate(certPem), privateKey: await importKey(keyPem) });
  }
  const made = await createAuthorityKey("okms development authority");
  // Key and certificate in one file, renamed into place: a run that is interrupted leaves no half authority.
  await writeFile(`${file}.new`, `${await exportKey(made.privateKey)}\n${made.cert.toString("pem")}\n`, {
    mode: 0o600,
  });
  await rename(`${file}.new`, file);
  return toAuthority(made);
}

/** Writes a certificate, its key and the authority's certificate as files (0600) into `folder`. */
export async function writeCertificateFiles(
  folder: string,
  issued: IssuedCertificate,
  caPem: string,
): Promise<CertificateFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const files = {
    cert: path.join(folder, "cert.pem"),
    key: path.join(folder, "key.pem"),
    ca: path.join(folder, "ca.pem"),
  };
  await writeFile(files.cert, issued.cert, { mode: 0o600 });
  await writeFile(files.key, issued.key, { mode: 0o600 });
  await writeFile(files.ca, caPem, { mode: 0o600 });
  return files;
}

/** Issues a client certificate (default common name: `okms-client`) and writes it, its key and the CA to `folder`. */
export async function writeClientFiles(
  folder: string,
  authority: Authority,
  options: Partial<CertificateOptions> = {},
): Promise<CertificateFiles> {
  const issued = await authority.issue({ commonName: "okms-client", client: true, ...options });
  return writeCertificateFiles(folder, issued, authority.caPem);
}

/** The PEM files of mutual TLS: each way in which they can be wrong has words of its own, which name the file. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createPrivateKey, generateKeyPairSync, subtle, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import {
  connect,
  createSecureContext,
  createServer,
  type PeerCertificate,
  type SecureContext,
  type Server,
} from "node:tls";
import { inspect } from "node:util";
import { ProviderError } from "../../src/errors.ts";
import { parseKmipAddress } from "../../src/net/address.ts";
import { dateProblem, loadTlsMaterial, secureContextOf, serverVerification } from "../../src/net/tls.ts";
import type { TlsFiles, TlsMaterial } from "../../src/net/tls.ts";
import { createAuthority, writeClientFiles } from "../devkms/certificates.ts";
import type { Authority, CertificateFiles } from "../devkms/certificates.ts";

const dayMs = 86_400_000;
let folder: string;
let authority: Authority;
let good: CertificateFiles;
let other: { cert: string; key: string };
let count = 0;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "okms-tls-"));
  authority = await createAuthority();
  good = await writeClientFiles(path.join(folder, "good"), authority);
  other = await authority.issue({ commonName: "other", client: true });
});
after(() => rm(folder, { recursive: true }));

/** A file of its own with this content. */
async function write(content: string | Uint8Array): Promise<string> {
  count += 1;
  const file = path.join(folder, `file-${count}.pem`);
  await writeFile(file, content);
  return file;
}

async function reasonOf(files: TlsFiles): Promise<string> {
  const error: unknown = await loadTlsMaterial(files).then(
    () => assert.fail("was taken"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ProviderError && error.code === "TLS_FILES", inspect(error));
  return error.message.replaceAll(folder, "");
}

/** A server whose one cipher needs RSA key exchange. */
async function startRsaServer(): Promise<Server> {
  const algorithm = {
    name: "RSASSA-PKCS1-v1_5",
    hash: "SHA-256",
    modulusLength: 2048,
    publicExponent: Uint8Array.of(1, 0, 1),
  };
  // After certificates.ts, which loads what it needs first.
  const { PemConverter, X509CertificateGenerator } = await import("@peculiar/x509");
  const keys = await subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const cert = await X509CertificateGenerator.createSelfSigned({
    name: "CN=rsa",
    signingAlgorithm: algorithm,
    keys,
  });
  const key = PemConverter.encode(await subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
  const tls = { maxVersion: "TLSv1.2", ciphers: "AES128-GCM-SHA256" } as const;
  const server = createServer({ cert: cert.toString("pem"), key, ...tls });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return server;
}

test("a good set is read to the byte, with a fingerprint and the dates", async () => {
  const material = await loadTlsMaterial(good);
  assert.match(material.cert.toString(), /BEGIN CERTIFICATE/);
  assert.match(material.key.toString(), /BEGIN PRIVATE KEY/);
  assert.equal(material.ca?.toString(), authority.caPem);
  assert.match(material.fingerprint, /^[0-9a-f]{64}$/);
  assert.deepEqual(
    material.notAfter.map((one) => one.file),
    [good.cert, good.ca],
  );
  assert.equal(
    material.notAfter[0]?.notAfter.getTime(),
    new X509Certificate(material.cert).validToDate.getTime(),
  );
  assert.deepEqual(dateProblem(material), []);
});

test("without a CA the system's roots are meant", async () => {
  const material = await loadTlsMaterial({ cert: good.cert, key: good.key });
  assert.equal(material.ca, undefined);
  assert.equal(material.notAfter.length, 1);
});

test("each of the three files changes the fingerprint", async () => {
  const ca = await write(`${authority.caPem}\n`);
  const [a, b, c] = await Promise.all([
    loadTlsMaterial(good),
    loadTlsMaterial({ ...good, ca }),
    loadTlsMaterial({ cert: good.cert, key: good.key }),
  ]);
  assert.equal(new Set([a.fingerprint, b.fingerprint, c.fingerprint]).size, 3);
});

test("a server's name is looked for among the Subject Alternative Names, a wildcard being a whole label", async () => {
  const { cert } = await authority.issue({
    commonName: "named.test",
    dnsNames: ["kms.test", "*.wild.test", "part*.test"],
    ipAddresses: ["192.0.2.7"],
    server: true,
  });
  const { raw } = new X509Certificate(cert);
  const isTaken = (host: string): boolean =>
    serverVerification(parseKmipAddress(host)).checkServerIdentity("", { raw } as PeerCertificate) ===
    undefined;
  for (const host of ["kms.test", "KMS.test", "kms.test.", "a.wild.test", "192.0.2.7"])
    assert.ok(isTaken(host), host);
  for (const host of ["named.test", "wild.test", "a.b.wild.test", "partial.test", "192.0.2.8", "x.kms.test"])
    assert.ok(!isTaken(host), host);
});

test("the name in the handshake has no final dot and no zone id, and an address is none", () => {
  const names = ["kms.test.", "kms.test", "192.0.2.7", "[fe80::1%lo]"].map(
    (address) => serverVerification(parseKmipAddress(address)).servername,
  );
  assert.deepEqual(names, ["kms.test", "kms.test", "", ""]);
});

test("no key exchange is offered that keeps no secret from who steals the server's key later", async (t) => {
  const server = await startRsaServer();
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const dial = (secureContext: SecureContext): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", secureContext, rejectUnauthorized: false });
      socket.once("error", reject).once("secureConnect", () => {
        resolve(socket.getCipher().name);
        socket.destroy();
      });
    });
  assert.equal(await dial(createSecureContext()), "AES128-GCM-SHA256", "Node's own would take it");
  await assert.rejects(dial(secureContextOf(await loadTlsMaterial(good))), /handshake failure/i);
});

test("neither JSON nor inspect shows a byte of certificate, key or CA", async () => {
  const material = await loadTlsMaterial(good);
  const shown = `${JSON.stringify(material)} ${inspect(material, { depth: 9 })} ${Object.keys(material).join()}`;
  assert.doesNotMatch(shown, /BEGIN|Buffer|"cert"|"key"|,key/);
});

const wrong: readonly (readonly [
  why: string,
  files: () => Promise<Partial<CertificateFiles>>,
  reason: RegExp,
])[] = [
  [
    "no such certificate",
    async () => ({ cert: `${folder}/none.pem` }),
    /^\/none\.pem: there is no such file$/,
  ],
  ["no such key", async () => ({ key: `${folder}/none.pem` }), /^\/none\.pem: there is no such file$/],
  ["no such CA", async () => ({ ca: `${folder}/none.pem` }), /^\/none\.pem: there is no such file$/],
  ["a folder", async () => ({ cert: folder }), /: is not a file$/],
  ["a file as a folder", async () => ({ cert: `${good.cert}/x` }), /there is no such file$/],
  ["an empty file", async () => ({ key: await write("") }), /file-\d+\.pem: is empty$/],
  ["a huge file", async () => ({ ca: await write("x".repeat(1024 * 1024 + 1)) }), /: is longer than 1 MiB$/],
  ["text", async () => ({ cert: await write("hello") }), /: is not PEM: there is no "-----BEGIN" line$/],
  [
    "a DER certificate",
    async () => ({ cert: await write(new X509Certificate(other.cert).raw) }),
    /: is DER, not PEM: convert it with "openssl x509 -inform der -in \S+ -out \S+\.pem"$/,
  ],
  [
    "a DER key",
    async () => {
      const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
      return { key: await write(privateKey.export({ format: "der", type: "pkcs8" })) };
    },
    /: is DER, not PEM: convert it with "openssl pkey -inform der/,
  ],
  [
    "an encrypted PKCS #8 key",
    async () => ({
      key: await write(
        createPrivateKey(other.key).export({
          format: "pem",
          type: "pkcs8",
          cipher: "aes-256-cbc",
          passphrase: "x",
        }) as string,
      ),
    }),
    /: the private key is encrypted: give its password with --client-key-password-file, or decrypt it/,
  ],
  [
    "a key encrypted in OpenSSL's own way",
    async () => ({
      key: await write(
        createPrivateKey(other.key).export({
          format: "pem",
          type: "sec1",
          cipher: "aes-256-cbc",
          passphrase: "x",
        }) as string,
      ),
    }),
    /: the private key is encrypted: give its password with --client-key-password-file, or decrypt it/,
  ],
  [
    "a key where the certificate should be",
    async () => ({ cert: good.key }),
    /^\/good\/key\.pem: holds a private key, and no certificate: are certificate and key swapped\?$/,
  ],
  [
    "a certificate where the key should be",
    async () => ({ key: good.cert }),
    /^\/good\/cert\.pem: holds a certificate, and no private key: are certificate and key swapped\?$/,
  ],
  [
    "both swapped",
    async () => ({ cert: good.key, key: good.cert }),
    /key\.pem: holds a private key.*; \/good\/cert\.pem: holds a certificate/,
  ],
  [
    "a key of another certificate",
    async () => ({ key: await write(other.key) }),
    /^\/file-\d+\.pem: is not the private key of the certificate in \/good\/cert\.pem$/,
  ],
  [
    "a certificate cut short",
    async () => ({ cert: await write(other.cert.slice(0, 200)) }),
    /: holds PEM, but no whole certificate$/,
  ],
  [
    "a certificate with damaged bytes",
    async () => ({ cert: await write("-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n") }),
    /: certificate 1 cannot be parsed: the file is damaged$/,
  ],
  [
    "a damaged certificate in the chain",
    async () => ({
      cert: await write(`${other.cert}\n-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n`),
    }),
    /: certificate 2 cannot be parsed: the file is damaged$/,
  ],
  [
    "a key with damaged bytes",
    async () => ({ key: await write("-----BEGIN PRIVATE KEY-----\nMIIBAAAA\n-----END PRIVATE KEY-----\n") }),
    /: the private key cannot be parsed: the file is damaged, or of an unknown kind$/,
  ],
  ["a CA file with a key only", async () => ({ ca: good.key }), /: holds a private key, and no certificate/],
  [
    "everything missing",
    async () => ({ cert: `${folder}/1`, key: `${folder}/2`, ca: `${folder}/3` }),
    /^\/1: there is no such file; \/2: there is no such file; \/3: there is no such file$/,
  ],
];
for (const [why, files, reason] of wrong)
  test(`${why}: its own message, with the file`, async () => {
    assert.match(await reasonOf({ ...good, ...(await files()) }), reason);
  });

test("a named pipe is refused at once, and not waited on", async () => {
  const file = path.join(folder, "pipe");
  execFileSync("mkfifo", [file]);
  assert.match(await reasonOf({ ...good, key: file }), /\/pipe: is not a file$/);
});

test("a symbolic link that leads to itself is told as what it is", async () => {
  const file = path.join(folder, "loop");
  await symlink(file, file);
  assert.match(await reasonOf({ ...good, ca: file }), /\/loop: is a symbolic link that leads to itself$/);
});

test("a file that this user may not read says so, with the user", async (t) => {
  // Root reads everything: as another user then, in a process of its own.
  const file = path.join(folder, "closed.pem");
  await writeFile(file, "x");
  await chmod(file, 0o000);
  const isRoot = process.getuid?.() === 0;
  t.diagnostic(isRoot ? "tried as uid 65534" : "tried as this user");
  const module = path.join(import.meta.dirname, "../../src/net/pem.ts");
  await chmod(folder, 0o755);
  const script = `
    const { readPemFile } = await import(${JSON.stringify(module)});
    if (${isRoot}) process.setuid(65534);
    await readPemFile(${JSON.stringify(file)}).catch((error) => console.log(error.code, error.message));`;
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  assert.match(
    output,
    /^TLS_FILES .*\/closed\.pem: permission denied \(run as uid \d+\), file owner uid \d+, mode 0000\n$/,
  );
});

test("a bundle whose certificates OpenSSL would read in part only is refused", async () => {
  const inMidLine = await write(`x${authority.caPem}\n${authority.caPem}`);
  const cut = await write(`${authority.caPem.slice(0, 200)}\n${authority.caPem}`);
  for (const ca of [inMidLine, cut])
    await assert.rejects(loadTlsMaterial({ ...good, ca }), {
      code: "TLS_FILES",
      message: `${ca}: a certificate in it is cut, or begins in the middle of a line: put each on lines of its own`,
    });
});

test("a key in DER is told as that, whatever its kind", async () => {
  const der = createPrivateKey(other.key).export({ format: "der", type: "pkcs8" });
  const file = path.join(folder, "key.der");
  await writeFile(file, der);
  await assert.rejects(loadTlsMaterial({ ...good, key: file }), { message: /is DER, not PEM/ });
});

test("no message about a key holds anything of the key", async () => {
  const body = createPrivateKey(other.key).export({ format: "der", type: "pkcs8" }).toString("base64");
  const broken = await write(
    `-----BEGIN PRIVATE KEY-----\n${body.slice(0, 40)}\n-----END PRIVATE KEY-----\n`,
  );
  const error: unknown = await loadTlsMaterial({ ...good, key: broken }).catch((reason: unknown) => reason);
  assert.doesNotMatch(
    inspect(error, { depth: 9, showHidden: true }),
    new RegExp(body.slice(4, 30).replaceAll("+", "\\+")),
  );
});

const taken: readonly (readonly [what: string, files: () => Promise<Partial<CertificateFiles>>])[] = [
  [
    "a certificate with its chain",
    async () => ({ cert: await write(`${await certOf(good)}\n${authority.caPem}`) }),
  ],
  ["Windows line ends", async () => ({ ca: await write(authority.caPem.replaceAll("\n", "\r\n")) })],
  ["text before the certificate", async () => ({ ca: await write(`Subject: CN=me\n${authority.caPem}`) })],
  [
    "certificate and key in one file",
    async () => {
      const file = await write(`${other.cert}\n${other.key}`);
      return { cert: file, key: file };
    },
  ],
  [
    "a key in OpenSSL's own format, after its parameters",
    async () => {
      const key = createPrivateKey(other.key).export({ format: "pem", type: "sec1" }) as string;
      const parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
      return { cert: await write(other.cert), key: await write(parameters + key) };
    },
  ],
  ["a byte order mark", async () => ({ ca: await write(`\uFEFF${authority.caPem}`) })],
  ["a certificate of --ca that is no CA: it is pinned", async () => ({ ca: await write(other.cert) })],
  [
    "a certificate twice",
    async () => ({ cert: await write(`${other.cert}\n${other.cert}`), key: await write(other.key) }),
  ],
  ["a bundle with the CA second", async () => ({ ca: await write(`${other.cert}\n${authority.caPem}`) })],
];
for (const [what, files] of taken)
  test(`${what}: taken`, async () => {
    await loadTlsMaterial({ ...good, ...(await files()) });
  });

async function certOf(files: CertificateFiles): Promise<string> {
  return (await loadTlsMaterial(files)).cert.toString();
}

async function datedMaterial(notBefore: Date, notAfter: Date): Promise<TlsMaterial> {
  count += 1;
  const files = await writeClientFiles(path.join(folder, `dated-${count}`), authority, {
    notBefore,
    notAfter,
  });
  return loadTlsMaterial(files);
}

test("an expired certificate is read, and its dates speak against it, with the file", async () => {
  const end = new Date(Date.now() - dayMs);
  const [problem] = dateProblem(await datedMaterial(new Date(Date.now() - 2 * dayMs), end));
  assert.match(problem ?? "", /dated-\d+\/cert\.pem: the certificate expired on \d{4}-/);
});

test("a certificate that is not valid yet hints at the clock", async () => {
  const material = await datedMaterial(new Date(Date.now() + dayMs), new Date(Date.now() + 2 * dayMs));
  assert.match(
    dateProblem(material)[0] ?? "",
    /cert\.pem: the certificate is not valid before .* \(is the clock right\?\)$/,
  );
  assert.deepEqual(dateProblem(material, new Date(Date.now() + 1.5 * dayMs)), []);
});

test("a CA that has ended in a bundle with good ones says nothing against the bundle", async () => {
  const expired = await authority.issue({
    commonName: "old",
    notBefore: new Date(Date.now() - 2 * dayMs),
    notAfter: new Date(Date.now() - dayMs),
  });
  const ca = await write(`${expired.cert}\n${authority.caPem}`);
  assert.deepEqual(dateProblem(await loadTlsMaterial({ ...good, ca })), []);
});

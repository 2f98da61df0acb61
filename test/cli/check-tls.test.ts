/** `check` and the encryptors before servers of many names, chains and certificates, and behind a proxy. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, afterEach, before, describe, test, type TestContext } from "node:test";
import { connect } from "node:tls";
import { checkCommand } from "../../src/cli/check.ts";
import type { Finding } from "../../src/cli/check/finding.ts";
import { createEncryptor } from "../../src/encryptors/index.ts";
import { parseKmipAddress, parseRestAddress } from "../../src/net/address.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { temporaryFolder } from "../server/harness.ts";
import { startConnectProxy } from "../support/connect-proxy.ts";
import { openssl, startOpensslServer, withoutOpenssl } from "../support/openssl.ts";
import { runCommand } from "./run-command.ts";

let kms: DevKms;
before(async () => {
  kms = await startDevKms();
  kms.keys.create({ name: "etcd" });
});
after(() => kms.close());
afterEach(() => kms.setServerCertificate());

type Protocol = "kmip" | "rest";
const protocols: readonly Protocol[] = ["kmip", "rest"];
type Flags = Readonly<Record<string, string | undefined>>;

/** The findings by the first word of their names. */
async function check(
  t: TestContext,
  protocol: Protocol,
  change: Flags,
  env: NodeJS.ProcessEnv = {},
): Promise<Map<string, Finding>> {
  const { cert, key, ca } = kms.clientFiles;
  const flags: Flags = {
    protocol,
    "serv-addr": protocol === "kmip" ? kms.kmipAddress : kms.restUrl,
    ...(protocol === "rest" && { "okms-id": kms.okmsId }),
    "encryption-key-label": "etcd",
    "client-cert": cert,
    "client-key": key,
    ca,
    sock: path.join(temporaryFolder(t), "kms.sock"),
    timeout: "3s",
    ...change,
  };
  const argv = Object.entries(flags).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}=${value}`],
  );
  const { stdout } = await runCommand(checkCommand, [...argv, "--json"], env);
  const { checks } = JSON.parse(stdout) as { checks: Finding[] };
  return new Map(checks.map((one) => [one.name.replace(/^(tcp|tls) .*/, "$1"), one]));
}

function assertWell(all: ReadonlyMap<string, Finding>): void {
  const wrong = [...all.values()].filter(({ status }) => status === "failed" || status === "skipped");
  assert.deepEqual(wrong, []);
}

function portOf(protocol: Protocol): string {
  return /\d+$/.exec(protocol === "kmip" ? kms.kmipAddress : kms.restUrl)?.[0] ?? "";
}

function addressFor(protocol: Protocol, host: string): string {
  return `${protocol === "kmip" ? "" : "https://"}${host}:${portOf(protocol)}`;
}

for (const protocol of protocols)
  describe(`over ${protocol}`, () => {
    test("a certificate of another name is accepted with --serv-name, which is also SNI", async (t) => {
      await kms.setServerCertificate({ dnsNames: ["kms.example"], ipAddresses: [] });
      const without = await check(t, protocol, {});
      assert.match(without.get("tls")?.message ?? "", /is for kms\.example, not for this host/);
      assert.match(without.get("tls")?.advice ?? "", /--serv-name/);
      const withName = await check(t, protocol, { "serv-name": "kms.example." });
      assertWell(withName);
      assert.match(withName.get("tls")?.message ?? "", /chain and name kms\.example verified/);
    });

    test("--ca may be the server's own certificate, and check says that it is pinned", async (t) => {
      const socket = connect({
        host: "127.0.0.1",
        port: Number(portOf(protocol)),
        rejectUnauthorized: false,
      });
      socket.on("error", () => undefined);
      await once(socket, "secureConnect");
      const leaf = new X509Certificate(socket.getPeerCertificate().raw);
      socket.destroy();
      const ca = path.join(temporaryFolder(t), "leaf.pem");
      writeFileSync(ca, leaf.toString());
      const all = await check(t, protocol, { ca });
      assertWell(all);
      assert.equal(all.get("ca")?.status, "warning");
      assert.match(all.get("ca")?.message ?? "", /leaf\.pem pins CN=/);
      // A renewed certificate is another one.
      await kms.setServerCertificate({ commonName: "renewed" });
      assert.match(
        (await check(t, protocol, { ca })).get("tls")?.message ?? "",
        /give the right CA bundle with --ca/,
      );
    });
  });

test("a zone id of IPv6 is dialled, and is no part of the name that is verified", async (t) => {
  const all = await check(t, "kmip", { "serv-addr": `[::1%lo]:${portOf("kmip")}` });
  assert.equal(all.get("tcp")?.status, "failed");
  assert.match(all.get("tcp")?.message ?? "", /\[::1%lo\]:\d+/);
});

/** A TLS server of openssl with these files, however weak. */
function startOpenssl(t: TestContext, folder: string, ...args: readonly string[]): Promise<string> {
  return startOpensslServer(t, folder, "-cipher", "DEFAULT@SECLEVEL=0", ...args);
}

/** That of {@link makeChain}. */
function startWithChain(t: TestContext, folder: string): Promise<string> {
  return startOpenssl(t, folder, "-cert", "leaf.pem", "-key", "leaf.key", "-cert_chain", "mid.pem");
}

/** Makes a root, an intermediate and a server's certificate of 127.0.0.1, all RSA, as told. */
function makeChain(folder: string, { bits = "2048", caBits = "2048", digest = "sha256" } = {}): void {
  writeFileSync(path.join(folder, "ca.ext"), "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n");
  writeFileSync(path.join(folder, "leaf.ext"), "subjectAltName=IP:127.0.0.1\nkeyUsage=digitalSignature\n");
  openssl(
    folder,
    "req",
    "-x509",
    "-newkey",
    `rsa:${caBits}`,
    "-nodes",
    "-subj",
    "/CN=root",
    "-keyout",
    "root.key",
    "-out",
    "root.pem",
    "-sha256",
  );
  for (const [name, issuer, size, ext] of [
    ["mid", "root", "2048", "ca.ext"],
    ["leaf", "mid", bits, "leaf.ext"],
  ] as const) {
    openssl(
      folder,
      "req",
      "-newkey",
      `rsa:${size}`,
      "-nodes",
      "-subj",
      `/CN=${name}`,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.csr`,
    );
    openssl(
      folder,
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      `${issuer}.pem`,
      "-CAkey",
      `${issuer}.key`,
      "-CAcreateserial",
      "-extfile",
      ext,
      `-${name === "leaf" ? digest : "sha256"}`,
      "-out",
      `${name}.pem`,
    );
  }
}

describe("a server of openssl", { skip: withoutOpenssl }, () => {
  test("whose issuing intermediate alone is given with --ca is trusted", async (t) => {
    const folder = temporaryFolder(t);
    makeChain(folder);
    const address = await startWithChain(t, folder);
    const all = await check(t, "kmip", {
      "serv-addr": address,
      ca: path.join(folder, "mid.pem"),
      timeout: "1s",
    });
    assert.equal(all.get("tls")?.status, "ok", all.get("tls")?.message);
    assert.match(all.get("ca")?.message ?? "", /mid\.pem trusts CN=mid, which is not a root, as it is$/);
  });

  test("whose self-signed certificate is no CA is trusted where it is given with --ca", async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(path.join(folder, "x"), "");
    openssl(
      folder,
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-subj",
      "/CN=self",
      "-addext",
      "subjectAltName=IP:127.0.0.1",
      "-addext",
      "keyUsage=digitalSignature",
      "-addext",
      "basicConstraints=CA:FALSE",
      "-keyout",
      "self.key",
      "-out",
      "self.pem",
    );
    const address = await startOpenssl(t, folder, "-cert", "self.pem", "-key", "self.key");
    const all = await check(t, "kmip", {
      "serv-addr": address,
      ca: path.join(folder, "self.pem"),
      timeout: "1s",
    });
    assert.equal(all.get("tls")?.status, "ok", all.get("tls")?.message);
  });

  for (const [what, change, message] of [
    [
      "RSA of 1024 bits",
      { bits: "1024" },
      /^the certificate of \S+ has a key that is too weak \(RSA below 2048 bits\): the operator/,
    ],
    [
      "a signature with SHA-1",
      { digest: "sha1" },
      /^the certificate of \S+, or of a CA that issued it, is signed with a digest that is too weak \(SHA-1\)/,
    ],
    [
      "a CA of RSA 1024",
      { caBits: "1024" },
      /^a CA that issued the certificate of \S+ has a key that is too weak/,
    ],
  ] as const)
    test(`with ${what} fails at once as TLS, with the certificate that is meant`, async (t) => {
      const folder = temporaryFolder(t);
      makeChain(folder, change);
      const address = await startWithChain(t, folder);
      const ca = path.join(folder, "root.pem");
      const all = await check(t, "kmip", { "serv-addr": address, ca, timeout: "1s" });
      assert.match(all.get("tls")?.message ?? "", message);
      assert.match(all.get("tls")?.advice ?? "", /ask the KMS's operator for a new server certificate/);
      for (const protocol of protocols) {
        const servers = [
          protocol === "kmip" ? parseKmipAddress(address) : parseRestAddress(`https://${address}`),
        ];
        const config = { protocol, servers, key: { id: kms.okmsId }, okmsId: kms.okmsId, kmipConnections: 1 };
        const encryptor = createEncryptor(config, () => undefined);
        t.after(() => encryptor.close());
        const { cert, key } = kms.clientFiles;
        encryptor.setTlsMaterial(await loadTlsMaterial({ cert, key, ca }));
        const deadline = performance.now() + 10_000;
        const started = performance.now();
        await assert.rejects(encryptor.resolveKey({ signal: AbortSignal.timeout(10_000), deadline }), {
          code: "TLS",
          message,
        });
        assert.ok(performance.now() - started < 5_000, "the caller was kept waiting");
      }
    });
});

describe("a client certificate", { skip: withoutOpenssl }, () => {
  for (const [what, extensions, message] of [
    ["without Extended Key Usage", [], /its Extended Key Usage is missing; some servers refuse it$/],
    ["for servers", ["-addext", "extendedKeyUsage=serverAuth"], /its Extended Key Usage is not for clients;/],
    [
      "without digitalSignature",
      ["-addext", "extendedKeyUsage=clientAuth", "-addext", "keyUsage=keyEncipherment"],
      /: its Key Usage does not allow digital signatures, which TLS 1\.3 needs; some servers refuse it$/,
    ],
  ] as const)
    test(`${what} is a warning`, async (t) => {
      const folder = temporaryFolder(t);
      openssl(
        folder,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=client",
        ...extensions,
        "-keyout",
        "k.pem",
        "-out",
        "c.pem",
      );
      const all = await check(t, "kmip", {
        "client-cert": path.join(folder, "c.pem"),
        "client-key": path.join(folder, "k.pem"),
      });
      assert.equal(all.get("usage of certificate")?.status, "warning");
      assert.match(all.get("usage of certificate")?.message ?? "", message);
    });

  test("that is twice in its file is a warning, and serves", async (t) => {
    const cert = path.join(temporaryFolder(t), "twice.pem");
    const pem = readFileSync(kms.clientFiles.cert, "utf8");
    writeFileSync(cert, `${pem}\n${pem}`);
    const all = await check(t, "kmip", { "client-cert": cert });
    assertWell(all);
    assert.match(all.get("chain")?.message ?? "", /holds a certificate twice/);
  });

  test("in PKCS #12 serves, with --client-key left out", async (t) => {
    const folder = temporaryFolder(t);
    const { cert, key } = kms.clientFiles;
    writeFileSync(path.join(folder, "password"), "secret\n");
    openssl(
      folder,
      "pkcs12",
      "-export",
      "-in",
      cert,
      "-inkey",
      key,
      "-passout",
      "file:password",
      "-out",
      "id.p12",
    );
    for (const protocol of protocols)
      assertWell(
        await check(t, protocol, {
          "client-cert": path.join(folder, "id.p12"),
          "client-key": undefined,
          "client-key-password-file": path.join(folder, "password"),
        }),
      );
  });
});

test("REST goes through the proxy of HTTPS_PROXY, from the handshake to the round trip, and check says so", async (t) => {
  await kms.setServerCertificate({ dnsNames: ["kms.test"], ipAddresses: [] });
  const { url, tunnels } = await startConnectProxy(t, `127.0.0.1:${portOf("rest")}`);
  const all = await check(t, "rest", { "serv-addr": addressFor("rest", "kms.test") }, { HTTPS_PROXY: url });
  assertWell(all);
  assert.match(all.get("tcp")?.message ?? "", new RegExp(`^connected through the proxy ${url} in`));
  assert.ok(tunnels.length >= 2);
  assert.deepEqual(new Set(tunnels), new Set([`kms.test:${portOf("rest")}`]));
});

test("a final dot of the host is neither in the name that is verified nor in what a proxy is asked for", async (t) => {
  await kms.setServerCertificate({ dnsNames: ["kms.test"], ipAddresses: [] });
  const { url, tunnels } = await startConnectProxy(t, `127.0.0.1:${portOf("rest")}`);
  assertWell(await check(t, "rest", { "serv-addr": addressFor("rest", "kms.test.") }, { HTTPS_PROXY: url }));
  assert.equal(tunnels[0], `kms.test:${portOf("rest")}`);
});

test("a proxy that refuses is named, with what to do", async (t) => {
  const { url } = await startConnectProxy(t, kms.kmipAddress, "Basic x");
  const all = await check(t, "rest", { "serv-addr": "https://kms.test" }, { https_proxy: url });
  assert.match(all.get("tcp")?.message ?? "", /through the proxy .* requires a user name and a password/);
  assert.match(all.get("tcp")?.advice ?? "", /HTTPS_PROXY.*NO_PROXY/);
});

test("a root of X.509 version 1 is a root, not a pin", { skip: withoutOpenssl }, async (t) => {
  const folder = temporaryFolder(t);
  const request = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl(folder, ...request, "-keyout", "root.key", "-out", "root.csr", "-subj", "/CN=old root");
  openssl(folder, "x509", "-req", "-in", "root.csr", "-signkey", "root.key", "-out", "root.pem");
  const all = await check(t, "kmip", { ca: path.join(folder, "root.pem") });
  assert.equal(all.get("ca"), undefined);
});

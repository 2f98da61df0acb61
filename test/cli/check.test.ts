/** `check` against the embedded KMS, over both protocols: all well, and each thing wrong on its own. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import type { TestContext } from "node:test";
import { checkCommand } from "../../src/cli/check.ts";
import { configCommand } from "../../src/cli/config.ts";
import type { Finding } from "../../src/cli/check/finding.ts";
import { createAuthority } from "../devkms/certificates.ts";
import type { CertificateOptions } from "../devkms/certificates.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import { type KeyStore, openKeyStore } from "../devkms/key-store.ts";
import { startServer, temporaryFolder } from "../server/harness.ts";
import { startSilentServer } from "../support/silent-server.ts";
import { runCommand } from "./run-command.ts";
import type { Ran } from "./run-command.ts";

let kms: DevKms;
let keyId = "";
before(async () => {
  kms = await startDevKms();
  keyId = kms.keys.create({ name: "etcd" }).id;
});
after(() => kms.close());
afterEach(() => {
  resetFaults(kms.faults);
});

type Flags = Readonly<Record<string, string | undefined>>;

/** The flags of a command line that is right, over `protocol`, with some of them changed. */
function flagsFor(t: TestContext, protocol: "kmip" | "rest", change: Flags): string[] {
  const { cert, key, ca } = kms.clientFiles;
  const flags: Flags = {
    protocol,
    "serv-addr": protocol === "kmip" ? kms.kmipAddress : kms.restUrl,
    ...(protocol === "rest" && { "okms-id": kms.okmsId }),
    "encryption-key-id": keyId,
    "client-cert": cert,
    "client-key": key,
    ca,
    sock: path.join(temporaryFolder(t), "kms.sock"),
    ...change,
  };
  return Object.entries(flags).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}=${value}`],
  );
}

function run(t: TestContext, change: Flags = {}, protocol: "kmip" | "rest" = "kmip"): Promise<Ran> {
  return runCommand(checkCommand, flagsFor(t, protocol, change));
}

async function findings(
  t: TestContext,
  change: Flags = {},
  protocol: "kmip" | "rest" = "kmip",
): Promise<Map<string, Finding>> {
  const { stdout, code } = await run(t, { ...change, json: "true" }, protocol);
  const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Finding[] };
  assert.equal(code, ok ? 0 : 1);
  // A server's name holds its port, which is another at each run.
  return new Map(
    checks.map((one) => [one.name.split(" ")[0] === one.name ? one.name : plain(one.name), one]),
  );
}

function plain(name: string): string {
  return name.replace(/^(tcp|tls) .*/, "$1");
}

/** Asserts that `name` alone failed, and that it says what to do. */
function assertFailed(all: ReadonlyMap<string, Finding>, name: string, message: RegExp): void {
  const wrong = [...all.values()].filter(({ status }) => status === "failed");
  assert.deepEqual(
    wrong.map((one) => plain(one.name)),
    [name],
    JSON.stringify(wrong),
  );
  assert.match(wrong[0]?.message ?? "", message);
  assert.notEqual(wrong[0]?.advice ?? "", "");
}

function skippedIn(all: ReadonlyMap<string, Finding>): string[] {
  return [...all].filter(([, { status }]) => status === "skipped").map(([name]) => name);
}

/** Writes a client certificate as it is told, and gives the flags that use it. */
async function clientCertificate(
  t: TestContext,
  options: Partial<CertificateOptions>,
  authority = kms.authority,
): Promise<Flags> {
  const folder = temporaryFolder(t);
  const { cert, key } = await authority.issue({ commonName: "client", client: true, ...options });
  const files = { "client-cert": path.join(folder, "cert.pem"), "client-key": path.join(folder, "key.pem") };
  writeFileSync(files["client-cert"], cert);
  writeFileSync(files["client-key"], key);
  return files;
}

const inDays = (days: number): Date => new Date(Date.now() + days * 86_400_000);

describe("check of what is well", () => {
  for (const protocol of ["kmip", "rest"] as const) {
    test(`prints a line for each check over ${protocol}, and exits 0`, async (t) => {
      const { code, stdout } = await run(t, {}, protocol);
      assert.equal(code, 0, stdout);
      const lines = stdout.trimEnd().split("\n");
      const named = lines.slice(0, -1).map((line) => /^✔ (tcp|tls|round trip|[a-z]+)/.exec(line)?.[1]);
      assert.deepEqual(named, [
        "files",
        "pair",
        "dates",
        "chain",
        "tcp",
        "tls",
        "protocol",
        "key",
        "kind",
        "state",
        "usage",
        "round trip",
        "socket",
      ]);
      assert.match(
        stdout,
        protocol === "kmip" ? /protocol +TLSv1\.3, KMIP 1\.4$/m : /protocol +TLSv1\.3, HTTP\/2$/m,
      );
      assert.match(stdout, /^✔ kind +AES, 256 bits$/m);
      assert.match(stdout, /^✔ round trip +Encrypt [\d.]+ ms, Decrypt [\d.]+ ms$/m);
      assert.equal(lines.at(-1), "all checks passed: 13");
    });

    test(`takes a label in place of an id over ${protocol}, and names the key it led to`, async (t) => {
      const change = { "encryption-key-id": undefined, "encryption-key-label": "etcd" };
      const all = await findings(t, change, protocol);
      assert.equal(all.get("key")?.message, `${keyId} ("etcd")`);
    });
  }

  test("asks for no key material, and leaves the KMS as it was", async (t) => {
    const held = kms.keys.list().length;
    await findings(t);
    assert.equal(kms.keys.list().length, held);
    const operations = Object.keys(kms.kmipRequests());
    const allowed = new Set(["DiscoverVersions", "Query", "Locate", "GetAttributes", "Encrypt", "Decrypt"]);
    assert.deepEqual(
      operations.filter((one) => !allowed.has(one)),
      [],
    );
  });

  test("makes nothing where the socket is to be", async (t) => {
    const sock = path.join(temporaryFolder(t), "new", "kms.sock");
    const all = await findings(t, { sock });
    assert.equal(all.get("socket")?.status, "ok");
    assert.throws(() => readFileSync(path.dirname(sock)), /ENOENT/);
  });

  test("tries each of several servers, and the key at each that answers", async (t) => {
    const { stdout, code } = await run(t, { "serv-addr": `127.0.0.1:1,${kms.kmipAddress}` });
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^✖ tcp 127\.0\.0\.1:1 +nothing listens on 127\.0\.0\.1:1 \(connection refused\)\n +→ /m,
    );
    assert.match(stdout, /^— tls 127\.0\.0\.1:1 +tcp failed$/m);
    assert.match(stdout, /^— round trip 127\.0\.0\.1:1 +the server can't be reached$/m);
    assert.match(stdout, new RegExp(`^✔ round trip ${kms.kmipAddress} +Encrypt`, "m"));
    assert.match(stdout, /^1 failed, 13 passed, 7 skipped\n$/m);
    assert.doesNotMatch(stdout, /same key/);
  });

  test("says what is odd about the command line", async (t) => {
    const all = await findings(t, { "sock-mode": "0666" });
    assert.equal(all.get("flags")?.status, "warning");
  });
});

/** Another KMS, with these keys, that takes the same client certificate. */
async function startOther(t: TestContext, keys: KeyStore): Promise<DevKms> {
  const other = await startDevKms({ keys, authority: kms.authority, rest: { okmsId: kms.okmsId } });
  t.after(() => other.close());
  return other;
}

/** The flag for several, in their order. */
function addressesOf(protocol: "kmip" | "rest", ...all: readonly DevKms[]): string {
  return all.map((one) => (protocol === "kmip" ? one.kmipAddress : one.restUrl)).join(",");
}

/** The findings of the last server. */
async function atSecond(t: TestContext, change: Flags, protocol: "kmip" | "rest"): Promise<Finding[]> {
  const { stdout } = await run(t, { ...change, json: "true" }, protocol);
  const { checks } = JSON.parse(stdout) as { checks: Finding[] };
  const names = checks.map(({ name }) => name);
  return checks.slice(names.findLastIndex((name) => name.startsWith("tls ")) + 1, -1);
}

describe("check of several servers", () => {
  for (const protocol of ["kmip", "rest"] as const) {
    test(`is well where each reads what another wrapped, over ${protocol}`, async (t) => {
      const servers = addressesOf(protocol, kms, await startOther(t, kms.keys));
      const { code, stdout } = await run(t, { "serv-addr": servers }, protocol);
      assert.equal(code, 0, stdout);
      const [first, second] = servers.replaceAll("https://", "").split(",");
      assert.match(stdout, new RegExp(`^✔ same key ${second} +decrypts what ${first} encrypted$`, "m"));
      assert.doesNotMatch(stdout, new RegExp(`same key ${first}`));
      const columns = stdout
        .trimEnd()
        .split("\n")
        .slice(0, -1)
        .map((line) => /^. .*?\S {2,}/.exec(line)?.[0].length);
      assert.equal(new Set(columns).size, 1, stdout);
    });

    test(`finds a server that has a key of its own under the same label, over ${protocol}`, async (t) => {
      const keys = openKeyStore();
      keys.create({ name: "etcd" });
      const change = { "encryption-key-id": undefined, "encryption-key-label": "etcd" };
      const servers = addressesOf(protocol, kms, await startOther(t, keys));
      const checks = await atSecond(t, { ...change, "serv-addr": servers }, protocol);
      const wrong = checks.filter(({ status }) => status !== "ok");
      assert.equal(wrong.length, 1, JSON.stringify(wrong));
      assert.match(wrong[0]?.name ?? "", /^same key 127\.0\.0\.1:\d+$/);
      assert.match(wrong[0]?.message ?? "", /^cannot decrypt what 127\.0\.0\.1:\d+ encrypted: /);
      assert.match(wrong[0]?.advice ?? "", /only servers that share their keys/);
    });

    test(`finds a server whose label leads to another of the keys that they share, over ${protocol}`, async (t) => {
      const folder = temporaryFolder(t);
      const keys = openKeyStore(folder);
      const old = keys.create({ name: "moved" });
      cpSync(folder, `${folder}-copy`, { recursive: true });
      t.after(() => rmSync(`${folder}-copy`, { recursive: true }));
      const copy = openKeyStore(`${folder}-copy`);
      copy.update(old.id, { names: [] });
      const young = copy.create({ name: "moved" });
      const servers = addressesOf(protocol, await startOther(t, keys), await startOther(t, copy));
      const change = { "encryption-key-id": undefined, "encryption-key-label": "moved" };
      const checks = await atSecond(t, { ...change, "serv-addr": servers }, protocol);
      const wrong = checks.filter(({ status }) => status !== "ok");
      assert.equal(wrong.length, 1, JSON.stringify(wrong));
      assert.match(
        wrong[0]?.message ?? "",
        new RegExp(`^resolves to key ${young.id}, and at \\S+ to key ${old.id}$`),
      );
    });
  }

  test("says that a server has no such key", async (t) => {
    const servers = addressesOf("kmip", kms, await startOther(t, openKeyStore()));
    const checks = await atSecond(t, { "serv-addr": servers }, "kmip");
    assert.deepEqual(
      checks.map(({ name, status }) => `${name.replace(/ 127.*/, "")} ${status}`),
      ["protocol ok", "key failed", "kind skipped", "state skipped", "usage skipped", "round trip skipped"],
    );
  });
});

describe("check of the files", () => {
  test("names a file that is not there, and tries nothing that needs it", async (t) => {
    const all = await findings(t, { "client-cert": "/nonexistent/cert.pem" });
    assertFailed(all, "files", /\/nonexistent\/cert\.pem: there is no such file/);
    assert.deepEqual(skippedIn(all), [
      "pair",
      "dates",
      "chain",
      "tls",
      "protocol",
      "key",
      "kind",
      "state",
      "usage",
      "round trip",
    ]);
    assert.equal(all.get("tcp")?.status, "ok");
  });

  test("tells certificate and key that are swapped", async (t) => {
    const { cert, key } = kms.clientFiles;
    assertFailed(await findings(t, { "client-cert": key, "client-key": cert }), "pair", /swapped/);
  });

  test("tells a key that is of another certificate", async (t) => {
    const other = await clientCertificate(t, {});
    const all = await findings(t, { "client-key": other["client-key"] });
    assertFailed(all, "pair", /is not the private key of the certificate/);
  });

  test("tells a CA file that is not one", async (t) => {
    const ca = path.join(temporaryFolder(t), "ca.pem");
    writeFileSync(ca, "hello");
    assertFailed(await findings(t, { ca }), "pair", /ca\.pem: is not PEM/);
  });

  test("tells a certificate that comes to its end within days, without failing", async (t) => {
    const all = await findings(t, await clientCertificate(t, { notAfter: inDays(5.5) }));
    const dates = all.get("dates");
    assert.equal(dates?.status, "warning");
    assert.match(dates?.message ?? "", /cert\.pem expires first, in 5 days/);
    assert.equal(all.get("round trip")?.status, "ok");
  });

  test("tells a certificate that has ended, by file and by what the server says", async (t) => {
    const all = await findings(
      t,
      await clientCertificate(t, { notBefore: inDays(-9), notAfter: inDays(-1) }),
    );
    assert.equal(all.get("dates")?.status, "failed");
    assert.match(all.get("dates")?.message ?? "", /cert\.pem: the certificate expired on/);
    assert.equal(all.get("tls")?.status, "failed");
  });

  test("tells a certificate that begins tomorrow by the clock, not by a new certificate", async (t) => {
    const all = await findings(t, await clientCertificate(t, { notBefore: inDays(1) }));
    assert.equal(all.get("dates")?.status, "failed");
    assert.match(all.get("dates")?.advice ?? "", /^set the clock of this host/);
  });

  test("tells a chain that is in the wrong order", async (t) => {
    const files = await clientCertificate(t, {});
    const file = files["client-cert"] ?? "";
    const other = await kms.authority.issue({ commonName: "other" });
    writeFileSync(file, `${readFileSync(file, "utf8")}\n${other.cert}`);
    const chain = (await findings(t, files)).get("chain");
    // serve sends it all the same, and most servers accept it: the handshake says whether this one does.
    assert.equal(chain?.status, "warning");
    assert.match(chain?.message ?? "", /certificate 2 is not the issuer of certificate 1/);
  });

  test("takes a chain in the right order", async (t) => {
    const files = await clientCertificate(t, {});
    const file = files["client-cert"] ?? "";
    writeFileSync(file, `${readFileSync(file, "utf8")}\n${kms.authority.caPem}`);
    assert.match((await findings(t, files)).get("chain")?.message ?? "", /^2 in /);
  });
});

describe("check of the way to the KMS", () => {
  test("tells a port where nothing listens", async (t) => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    const all = await findings(t, { "serv-addr": `127.0.0.1:${port}` });
    assertFailed(all, "tcp", /nothing listens on/);
  });

  test("tells a host that DNS does not know", async (t) => {
    assertFailed(await findings(t, { "serv-addr": "kms.invalid:5696" }), "tcp", /DNS/);
  });

  test("tells a server that does not speak TLS", async (t) => {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.end("220 mail.example.com\r\n");
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    assertFailed(await findings(t, { "serv-addr": `127.0.0.1:${port}` }), "tls", /does not speak TLS/);
  });

  test("tells a server that is silent during the handshake", async (t) => {
    const { address } = await startSilentServer(t);
    const all = await findings(t, { "serv-addr": address, timeout: "200ms" });
    assertFailed(all, "tls", /does not complete the TLS handshake within --timeout/);
  });

  for (const protocol of ["kmip", "rest"] as const) {
    test(`tells a CA that did not issue the server's certificate, over ${protocol}`, async (t) => {
      const other = await createAuthority();
      const ca = path.join(temporaryFolder(t), "ca.pem");
      writeFileSync(ca, other.caPem);
      assertFailed(await findings(t, { ca }, protocol), "tls", /does not chain to a trusted authority/);
    });

    test(`tells a client certificate that the server refuses, over ${protocol}`, async (t) => {
      const stranger = await clientCertificate(t, {}, await createAuthority());
      assertFailed(
        await findings(t, stranger, protocol),
        "tls",
        /refused the client certificate|client certificate/,
      );
    });
  }

  const serverCertificates: readonly (readonly [
    what: string,
    Partial<CertificateOptions>,
    message: RegExp,
    advice: RegExp,
  ])[] = [
    [
      "that has ended",
      { notBefore: inDays(-9), notAfter: inDays(-1) },
      /has expired/,
      /a new server certificate/,
    ],
    [
      "that is for another host",
      { dnsNames: ["other.example.com"], ipAddresses: [] },
      /is for other\.example\.com/,
      /--serv-name/,
    ],
    ["that does not begin before tomorrow", { notBefore: inDays(1) }, /not valid yet/, /set the clock/],
  ];
  for (const [what, options, message, advice] of serverCertificates) {
    test(`tells a server certificate ${what}`, async (t) => {
      await kms.setServerCertificate(options);
      t.after(() => kms.setServerCertificate());
      const all = await findings(t);
      assertFailed(all, "tls", message);
      assert.match([...all.values()].find(({ status }) => status === "failed")?.advice ?? "", advice);
    });
  }
});

describe("check of the protocol", () => {
  test("tells a server whose KMIP has no Encrypt", async (t) => {
    const { keys, authority } = kms;
    const old = await startDevKms({ keys, authority, kmip: { maxVersion: "1.1" }, rest: false });
    t.after(() => old.close());
    const { cert, key, ca } = old.clientFiles;
    const change = { "serv-addr": old.kmipAddress, "client-cert": cert, "client-key": key, ca };
    assertFailed(await findings(t, change), "protocol", /speaks KMIP 1\.1 at most/);
  });

  test("tells a server that answers with something else than KMIP", async (t) => {
    kms.faults.garbage = true;
    assertFailed(await findings(t, { timeout: "500ms" }), "protocol", /./);
  });

  for (const status of [429, 503])
    test(`tells a server that says ${status}, and does not blame the key`, async (t) => {
      kms.faults.rest = { status };
      const all = await findings(t, { timeout: "500ms" }, "rest");
      assertFailed(all, "protocol", new RegExp(String(status)));
      assert.match(all.get("protocol")?.advice ?? "", /try again/);
    });

  test("tells a server that takes requests and does not answer", async (t) => {
    kms.faults.silent = true;
    assertFailed(await findings(t, { timeout: "500ms" }), "protocol", /time was over/);
  });
});

describe("check of the key", () => {
  for (const protocol of ["kmip", "rest"] as const) {
    const absent = "00000000-0000-4000-8000-000000000000";
    const rows: readonly (readonly [
      what: string,
      Parameters<DevKms["keys"]["create"]>[0],
      string,
      RegExp,
    ])[] = [
      ["that may not Decrypt", { usage: ["Encrypt"] }, "usage", /decrypt/i],
      ["that may not Encrypt", { usage: ["Decrypt"] }, "usage", /encrypt/i],
      ["that is not active yet", { state: "PreActive" }, "state", /pre.?active/i],
      ["that was deactivated", { state: "Deactivated" }, "state", /deactivated/i],
      ["that was compromised", { state: "Compromised" }, "state", /compromised/i],
    ];
    for (const [what, key, name, message] of rows) {
      test(`tells a key ${what}, over ${protocol}`, async (t) => {
        const { id } = kms.keys.create(key);
        const all = await findings(t, { "encryption-key-id": id }, protocol);
        assertFailed(all, name, message);
        assert.equal(all.get("key")?.message, id);
        assert.equal(all.get("round trip")?.status, "skipped");
      });
    }

    test(`tells an id that the KMS does not know, over ${protocol}`, async (t) => {
      const all = await findings(t, { "encryption-key-id": absent }, protocol);
      assertFailed(all, "key", /no such key|no service key/);
      assert.deepEqual(skippedIn(all), ["kind", "state", "usage", "round trip"]);
      assert.equal(all.get("protocol")?.status, "ok");
    });

    test(`tells a label that no key has, over ${protocol}`, async (t) => {
      const change = { "encryption-key-id": undefined, "encryption-key-label": "nobody" };
      assertFailed(await findings(t, change, protocol), "key", /"nobody"/);
    });

    test(`tells a label that two keys have, over ${protocol}`, async (t) => {
      for (const _ of [1, 2]) kms.keys.create({ name: `twice-${protocol}` });
      const change = { "encryption-key-id": undefined, "encryption-key-label": `twice-${protocol}` };
      assertFailed(await findings(t, change, protocol), "key", /2 .*keys have/);
    });

    test(`tells a key that this client may not see, over ${protocol}`, async (t) => {
      kms.faults.deniedKeys.add(keyId);
      assertFailed(await findings(t, {}, protocol), "key", /certificate/);
    });
  }

  const kinds: readonly (readonly [what: string, Parameters<DevKms["keys"]["create"]>[0], RegExp])[] = [
    ["of another algorithm", { algorithm: "3DES", lengthBits: 192 }, /3DES, not AES/],
    ["that is no symmetric key", { objectType: "SecretData" }, /Secret Data, not a Symmetric Key/],
  ];
  for (const [what, key, message] of kinds) {
    test(`tells a key ${what}`, async (t) => {
      const { id } = kms.keys.create(key);
      const all = await findings(t, { "encryption-key-id": id });
      assertFailed(all, "kind", message);
      assert.deepEqual(skippedIn(all), ["state", "usage", "round trip"]);
    });
  }

  test("tells a key that can be seen and not be used", async (t) => {
    kms.faults.refuse = { operation: "Encrypt", reason: "PermissionDenied" };
    assertFailed(await findings(t), "round trip", /denies|denied/i);
  });
});

test("check of the file of kube-apiserver takes a socket that is mounted at another path, when told so", async (t) => {
  const file = path.join(temporaryFolder(t), "encryption-configuration.yaml");
  const { stdout } = await runCommand(configCommand, ["encryption-configuration", "--sock=/inside/kms.sock"]);
  writeFileSync(file, stdout);
  const without = await findings(t, { "encryption-config": file });
  assert.equal(without.get("api provider")?.status, "failed");
  const told = { "encryption-config": file, "encryption-config-sock": "/inside/kms.sock" };
  const all = await findings(t, told);
  assert.equal(all.get("api provider")?.status, "ok");
  assert.equal(all.get("socket")?.status, "ok", "the plugin's own is still looked at");
});

describe("check of the socket", () => {
  test("tells a file that is not a socket", async (t) => {
    const sock = path.join(temporaryFolder(t), "file");
    writeFileSync(sock, "");
    assertFailed(await findings(t, { sock }), "socket", /exists and is not a socket/);
  });

  test("tells a folder that is a file", async (t) => {
    const file = path.join(temporaryFolder(t), "file");
    writeFileSync(file, "");
    assertFailed(await findings(t, { sock: path.join(file, "kms.sock") }), "socket", /file|folder/);
  });

  test("tells a folder in which others may write", async (t) => {
    const folder = path.join(temporaryFolder(t), "open");
    mkdirSync(folder);
    chmodSync(folder, 0o777);
    assertFailed(await findings(t, { sock: path.join(folder, "kms.sock") }), "socket", /others may write/);
  });

  test("tells a path that is too long", async (t) => {
    assertFailed(await findings(t, { sock: `/run/${"a".repeat(120)}.sock` }), "socket", /Linux allows 107/);
  });

  test("tells a group that does not exist", async (t) => {
    assertFailed(await findings(t, { "sock-group": "no-such-group" }), "socket", /no group no-such-group/);
  });

  test("tells a process that answers on the path, without failing", async (t) => {
    const { socketPath } = await startServer(t);
    const all = await findings(t, { sock: socketPath });
    assert.equal(all.get("socket")?.status, "warning");
    assert.match(all.get("socket")?.message ?? "", /a process listens on/);
    assert.match(all.get("socket")?.advice ?? "", /--replace/);
  });

  test("takes a process that answers for what --replace is for", async (t) => {
    const { socketPath } = await startServer(t);
    const all = await findings(t, { sock: socketPath, replace: "true" });
    assert.equal(all.get("socket")?.status, "ok");
  });

  test("tells what an abstract socket means, and one that is taken", async (t) => {
    const sock = `@okms-test-${crypto.randomUUID()}`;
    assert.match((await findings(t, { sock })).get("socket")?.message ?? "", /no permissions/);
    await startServer(t, { socket: { path: sock } });
    assert.match((await findings(t, { sock })).get("socket")?.message ?? "", /a process listens/);
  });
});

describe("the dates of the key", () => {
  const table: [string, Parameters<KeyStore["update"]>[1]["dates"], RegExp][] = [
    [
      "a Protect Stop Date in 20 days",
      { protectStop: inDays(20.1) },
      /is in 20 days: the KMS will refuse Encrypt/,
    ],
    ["a Deactivation Date in 3 days", { deactivation: inDays(3.1) }, /is in 3 days: the KMS will deactivate/],
  ];
  for (const [what, dates = {}, message] of table)
    test(`are told: ${what} is a warning`, async (t) => {
      const { id } = kms.keys.create({ dates });
      const all = await findings(t, { "encryption-key-id": id });
      assert.equal(all.get("key dates")?.status, "warning");
      assert.match(all.get("key dates")?.message ?? "", message);
    });

  test("are told: after the Protect Stop Date the round trip fails for that reason", async (t) => {
    const { id } = kms.keys.create({ dates: { protectStop: inDays(-3) } });
    const all = await findings(t, { "encryption-key-id": id });
    const words = /Protect Stop Date, .*, has passed: the KMS refuses Encrypt, and Decrypt still works/;
    assert.match(all.get("key dates")?.message ?? "", words);
    assert.match(all.get("round trip")?.message ?? "", words);
  });

  test("are not told where none is near", async (t) => {
    const { id } = kms.keys.create({ dates: { protectStop: inDays(31.1), deactivation: inDays(400.1) } });
    assert.equal((await findings(t, { "encryption-key-id": id })).has("key dates"), false);
  });
});

describe("the advice fits what the KMS does:", () => {
  const table: readonly (readonly [string, "kmip" | "rest", () => void, string, RegExp, RegExp])[] = [
    [
      "a KMS that never answers",
      "kmip",
      () => (kms.faults.silent = true),
      "protocol",
      /no reply to the first KMIP message/,
      /hangs or is slower than --timeout/,
    ],
    [
      "a KMS that hangs up on every message",
      "kmip",
      () => (kms.faults.closeAfterRequest = true),
      "protocol",
      /may have refused the client certificate/,
      /have the KMS accept this client certificate/,
    ],
    [
      "a KMS that refuses everything",
      "kmip",
      () => (kms.faults.refuse = { reason: "GeneralFailure", message: "internal error" }),
      "protocol",
      /Discover Versions refused by the KMIP server: General Failure/,
      /no word about the key/,
    ],
    [
      "a KMS that does not find keys for a reason of its own",
      "kmip",
      () => (kms.faults.refuse = { reason: "GeneralFailure", operation: "GetAttributes" }),
      "key",
      /Get Attributes refused by the KMIP server: General Failure/,
      /no word about the key/,
    ],
    [
      "a redirect",
      "rest",
      () => (kms.faults.rest = { status: 302 }),
      "protocol",
      /a redirect/,
      /something other than the API answers/,
    ],
    [
      "a login page",
      "rest",
      () => (kms.faults.rest = { status: 200, page: "<!DOCTYPE html><title>Sign in</title>" }),
      "protocol",
      /an HTML page/,
      /something other than the API answers/,
    ],
  ];
  for (const [what, protocol, fault, name, message, advice] of table)
    test(what, async (t) => {
      fault();
      const found = (await findings(t, { timeout: "1s" }, protocol)).get(name);
      assert.equal(found?.status, "failed");
      assert.match(found.message, message);
      assert.match(found.advice ?? "", advice);
    });

  test("a Decrypt of more than a second is a warning", async (t) => {
    kms.faults.delayMs = 1050;
    const found = (await findings(t)).get("round trip");
    assert.equal(found?.status, "warning");
    assert.match(found.advice ?? "", /latency/);
  });
});

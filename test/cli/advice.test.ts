/**
 * What `check` advises is followed, and mends it: each hint that names a command is run against what provokes it. The
 * commands of openssl are in test/net/client-files.test.ts, `check --user` is in check.test.ts.
 */
import assert from "node:assert/strict";
import { chmodSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { checkCommand } from "../../src/cli/check.ts";
import type { Finding } from "../../src/cli/check/finding.ts";
import { configCommand } from "../../src/cli/config.ts";
import { probeCommand } from "../../src/cli/probe.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { startServer, temporaryFolder } from "../server/harness.ts";
import { runAdvice } from "../support/openssl.ts";
import { runCommand } from "./run-command.ts";

let kms: DevKms;
before(async () => {
  kms = await startDevKms({ rest: false });
  kms.keys.create({ name: "etcd" });
});
after(() => kms.close());

async function check(
  t: TestContext,
  change: Readonly<Record<string, string>>,
): Promise<Map<string, Finding>> {
  const { cert, key, ca } = kms.clientFiles;
  const flags = {
    protocol: "kmip",
    "serv-addr": kms.kmipAddress,
    "encryption-key-label": "etcd",
    "client-cert": cert,
    "client-key": key,
    ca,
    sock: path.join(temporaryFolder(t), "kms.sock"),
    ...change,
  };
  const argv = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  const { stdout } = await runCommand(checkCommand, [...argv, "--json"]);
  return new Map((JSON.parse(stdout) as { checks: Finding[] }).checks.map((one) => [one.name, one]));
}

test("chmod o-w closes a folder that others may write to, whatever its name", async (t) => {
  const folder = path.join(temporaryFolder(t), "it's open");
  mkdirSync(folder);
  chmodSync(folder, 0o777);
  const sock = path.join(folder, "kms.sock");
  const first = (await check(t, { sock })).get("socket");
  assert.equal(first?.status, "failed");
  const command = /^run (chmod o-w .+), choose a folder/.exec(first.advice ?? "")?.[1];
  assert.ok(command !== undefined, first.advice);
  runAdvice(command);
  assert.equal((await check(t, { sock })).get("socket")?.status, "ok");
});

test("a folder of mode 0750 below it, and --sock-insecure-dir, do as well", async (t) => {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o777);
  mkdirSync(path.join(folder, "own"), { mode: 0o750 });
  assert.equal((await check(t, { sock: path.join(folder, "own/kms.sock") })).get("socket")?.status, "ok");
  const all = await check(t, { sock: path.join(folder, "kms.sock"), "sock-insecure-dir": "true" });
  assert.equal(all.get("socket")?.status, "ok");
  assert.match(all.get("flags")?.message ?? "", /^--sock-insecure-dir: /);
});

test("`config encryption-configuration` prints a file that is right", async (t) => {
  const folder = temporaryFolder(t);
  const sock = path.join(folder, "kms.sock");
  const file = path.join(folder, "encryption.yaml");
  writeFileSync(file, "kind: EncryptionConfiguration\n");
  const first = (await check(t, { sock, "encryption-config": file })).get("api file");
  assert.equal(first?.status, "failed");
  const words = /`config ([a-z-]+)`/.exec(first.advice ?? "")?.[1] ?? "";
  const { stdout } = await runCommand(configCommand, [words, `--sock=${sock}`]);
  writeFileSync(file, stdout);
  const all = [...(await check(t, { sock, "encryption-config": file })).values()];
  assert.deepEqual(
    all.filter(({ name, status }) => name.startsWith("api ") && status !== "ok"),
    [],
  );
});

test("`probe` reports the state of a plugin that answers on the socket", async (t) => {
  const { socketPath } = await startServer(t);
  const found = (await check(t, { sock: socketPath })).get("socket");
  assert.match(found?.advice ?? "", /`probe` reports its state/);
  const { code, stdout } = await runCommand(probeCommand, [`--sock=${socketPath}`]);
  assert.equal(code, 0, stdout);
});

test("--serv-name is advised where the certificate has another name, and helps", async (t) => {
  await kms.setServerCertificate({ dnsNames: ["kms.example"], ipAddresses: [] });
  t.after(() => kms.setServerCertificate());
  const tls = [...(await check(t, {})).values()].find(({ name }) => name.startsWith("tls "));
  assert.match(tls?.advice ?? "", /or --serv-name that name$/);
  const named = /is for (\S+), not/.exec(tls?.message ?? "")?.[1] ?? "";
  const all = [...(await check(t, { "serv-name": named })).values()];
  assert.deepEqual(
    all.filter(({ status }) => status !== "ok"),
    [],
  );
});

test("no hint names a command that is not followed by a test", () => {
  const root = path.join(import.meta.dirname, "../..");
  const files = globSync("src/{cli/check,net,server/socket}/*.ts", { cwd: root });
  const text = files
    .map((file) => readFileSync(path.join(root, file), "utf8"))
    .join("\n")
    .replaceAll(/^\s*(?:\/\/|\*|\/\*).*$/gm, "");
  const found =
    text.match(
      /openssl (?:\w+|\$\{\w+\})|run chmod \S+|`(?:config|probe)(?: [a-z-]+)?`|ausearch|restorecon|chown /g,
    ) ?? [];
  assert.deepEqual([...new Set(found)].toSorted(), [
    "`config encryption-configuration`",
    "`probe`",
    "openssl ${command}",
    "openssl pkcs12",
    "openssl pkcs7",
    "openssl pkcs8",
    "openssl pkey",
    "run chmod o-w",
  ]);
});

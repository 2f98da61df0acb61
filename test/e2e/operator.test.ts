/** What the operator holds, on the built program: check, config, the HTTP endpoint, probe, one after the other. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { startDevKms } from "../devkms/devkms.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { parseExposition } from "../exposition.ts";
import { temporaryFolder } from "../server/harness.ts";
import { runProgram } from "./program.ts";
import { flagList, kmipFlagsOf, serving } from "./serving.ts";

let kms: DevKms;
before(async () => {
  kms = await startDevKms();
  kms.keys.create({ name: "etcd" });
});
after(() => kms.close());

test("what `config` writes passes `check`, which exits 0 and prints each check", async (t) => {
  const folder = temporaryFolder(t);
  const flags = flagList({ ...kmipFlagsOf(kms), sock: path.join(folder, "kms.sock") });
  const written = await runProgram(t, ["config", "encryption-configuration", ...flags, "--out", folder]);
  assert.deepEqual([written.code, written.stderr], [0, ""]);
  const file = written.stdout.trim();
  assert.match(readFileSync(file, "utf8"), /apiVersion: v2/);
  const checked = await runProgram(t, ["check", ...flags, "--encryption-config", file]);
  assert.equal(checked.code, 0, checked.stdout + checked.stderr);
  assert.match(checked.stdout, /^all checks passed: 21$/m);
});

test("`check` exits 1 with ✖ and what to do, and 2 for a command line that is wrong", async (t) => {
  const flags = { ...kmipFlagsOf(kms), "encryption-key-label": "nobody" };
  const failed = await runProgram(t, ["check", ...flagList(flags)]);
  assert.equal(failed.code, 1);
  assert.match(failed.stdout, /^✖ key .*"nobody".*\n +→ \S/m);
  const wrong = await runProgram(t, ["check", "--encryption-confg", "x"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /did you mean --encryption-config\?/);
});

test("units for systemd are printed by a process without a terminal, whole", async (t) => {
  const { code, stdout } = await runProgram(t, ["config", "systemd", ...flagList(kmipFlagsOf(kms))]);
  assert.equal(code, 0);
  assert.match(stdout, /^# \/etc\/systemd\/system\/.*\.service\n\[Unit\]/);
  assert.match(stdout, /WantedBy=sockets\.target\n$/);
});

test("a process that serves answers /livez, /readyz and /metrics, and `probe` finds it well", async (t) => {
  const flags = flagList({ ...kmipFlagsOf(kms), "http-addr": "127.0.0.1:0" });
  const { program, sock } = await serving(t, flags);
  const { address } = await program.untilLogged("the HTTP endpoint listens");
  await program.untilLogged("the key is healthy");
  for (const where of ["livez", "readyz"])
    assert.equal((await fetch(`http://${String(address)}/${where}`)).status, 200, where);
  const probed = await runProgram(t, ["probe", "--sock", sock, "--count", "20", "--concurrency", "4"]);
  assert.equal(probed.code, 0, probed.stdout + probed.stderr);
  const families = parseExposition(await (await fetch(`http://${String(address)}/metrics`)).text());
  const encrypted = families
    .get("okms_encryption_provider_requests_total")
    ?.samples.find(({ labels }) => labels["method"] === "Encrypt" && labels["code"] === "OK");
  assert.equal(encrypted?.value, 20);
  const certificates = families.get("okms_encryption_provider_certificate_not_after_timestamp_seconds");
  assert.deepEqual(
    certificates?.samples.map(({ labels }) => labels["file"]).toSorted(),
    [kms.clientFiles.cert, kms.clientFiles.ca].toSorted(),
  );
});

test("`probe` exits 1 where nothing serves", async (t) => {
  const sock = path.join(temporaryFolder(t), "none.sock");
  const { code, stdout } = await runProgram(t, ["probe", "--sock", sock]);
  assert.equal(code, 1);
  assert.match(stdout, /there is no socket/);
});

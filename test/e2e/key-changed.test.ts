/**
 * A key whose bytes are exchanged under its identifier, on the built program over both protocols: what the log, Status,
 * the metrics and `probe` say, what goes on, and that all of it ends when the former key is back.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { status as Code } from "@grpc/grpc-js";
import { type EncryptResponse, KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { temporaryFolder } from "../server/harness.ts";
import { runProgram } from "./program.ts";
import {
  flagList,
  flagsOf,
  inTime,
  type Protocol,
  roundTrip,
  serving,
  type Serving,
  unwrap,
  wrap,
} from "./serving.ts";

const { status, encrypt, decrypt } = KeyManagementService.method;
const notUsable = "the key must not be used; Status and Encrypt fail, Decrypt is still tried";
const inWords =
  "the bytes of the key were exchanged under its identifier: values wrapped before can no longer be read";

async function startKms(t: TestContext): Promise<DevKms> {
  const kms = await startDevKms();
  t.after(() => kms.close());
  return kms;
}

/** The program with quick probes. */
async function serve(
  t: TestContext,
  protocol: Protocol,
  kms: DevKms,
  more: Record<string, string> = {},
): Promise<Serving> {
  const quick = { "probe-interval": "100ms", "deep-probe-interval": "200ms", "http-addr": "127.0.0.1:0" };
  return await serving(t, flagList({ ...flagsOf(protocol, kms), ...quick, ...more }));
}

async function readHttp({ program }: Serving, where: string): Promise<{ status: number; text: string }> {
  const { address } = await program.untilLogged("the HTTP endpoint listens");
  const reply = await fetch(`http://${String(address)}/${where}`);
  return { status: reply.status, text: await reply.text() };
}

async function stop({ program }: Serving): Promise<void> {
  program.kill("SIGTERM");
  assert.equal((await program.ended).code, 0);
}

/** Status and Encrypt fail with the code of a key that must not be used, and say why in plain words. */
async function assertStopped({ client }: Serving): Promise<void> {
  for (const result of [
    await client.call(status, {}, inTime()),
    await client.call(encrypt, { plaintext: randomBytes(32), uid: "e2e" }, inTime()),
  ]) {
    assert.ok("error" in result);
    assert.equal(result.error.code, Code.FAILED_PRECONDITION);
    // grpc-js undoes only a part of the percent-encoding of grpc-message; Go's client undoes all.
    assert.equal(decodeURIComponent(result.error.details), `${inWords} [KEY_CHANGED]`);
  }
}

async function decryptCode({ client }: Serving, wrapped: EncryptResponse): Promise<Code> {
  const { ciphertext, keyId, annotations } = wrapped;
  const result = await client.call(decrypt, { ciphertext, keyId, annotations, uid: "e2e" }, inTime());
  return "error" in result ? (result.error.code as Code) : Code.OK;
}

for (const protocol of ["kmip", "rest"] as const)
  describe(protocol, () => {
    test("log, Status, metrics, /readyz and probe name it; Decrypt goes on; it ends when the former key is back", async (t) => {
      const kms = await startKms(t);
      const old = kms.keys.create({ name: "etcd" });
      const running = await serve(t, protocol, kms);
      const seed = randomBytes(32);
      const underOld = await wrap(running.client, seed);
      kms.keys.update(old.id, { names: [] });
      const { id } = kms.keys.create({ name: "etcd" });
      await running.program.untilLogged("the key has changed");
      const before = await wrap(running.client, seed);
      assert.equal(before.keyId, id);

      const former = kms.keys.exchangeMaterial(id);
      const line = await running.program.untilLogged(notUsable);
      assert.equal(line.level, "error");
      assert.equal(line["code"], "KEY_CHANGED");
      assert.match(
        String(line["error"]),
        new RegExp(`^${inWords.replace("the key were", `the key ${id} were`)}`),
      );
      await assertStopped(running);
      assert.equal(await decryptCode(running, before), Code.INVALID_ARGUMENT);
      assert.deepEqual(await unwrap(running.client, underOld), seed, "values of other keys are still read");
      const { text: metrics } = await readHttp(running, "metrics");
      assert.match(metrics, /^okms_encryption_provider_key_failure\{code="KEY_CHANGED"\} 1$/m);
      assert.match(metrics, /^okms_encryption_provider_key_state\{state="permanent"\} 1$/m);
      const ready = await readHttp(running, "readyz?verbose");
      assert.equal(ready.status, 503);
      assert.match(ready.text, /^failure: KEY_CHANGED$/m);
      const probed = await runProgram(t, ["probe", "--sock", running.sock]);
      assert.equal(probed.code, 1);
      assert.ok(probed.stdout.includes(`${inWords} [KEY_CHANGED]`), probed.stdout);

      kms.keys.exchangeMaterial(id, former);
      const healthy = running.program.log().filter(({ msg }) => msg === "the key is healthy").length;
      await running.program.untilLogged("the key is healthy", healthy + 1);
      assert.equal((await roundTrip(running)).healthz, "ok");
      assert.deepEqual(await unwrap(running.client, before), seed);
      // A page of metrics is shared for a second.
      const until = Date.now() + 5000;
      while ((await readHttp(running, "metrics")).text.includes("key_failure{"))
        assert.ok(Date.now() < until, "the failure is still in the metrics");
      assert.equal((await readHttp(running, "readyz")).status, 200);
    });

    test("with --state-dir it is noticed at the next start too, and the file is small, 0600 and without a secret", async (t) => {
      const kms = await startKms(t);
      const { id } = kms.keys.create({ name: "etcd" });
      const folder = path.join(temporaryFolder(t), "state");
      const first = await serve(t, protocol, kms, { "state-dir": folder });
      const { keyId } = await roundTrip(first);
      await stop(first);
      const file = path.join(folder, "key-samples.json");
      const text = readFileSync(file, "utf8");
      assert.equal(statSync(file).mode & 0o777, 0o600);
      assert.ok(text.length < 2000, `${text.length} bytes`);
      assert.ok(text.includes(keyId));

      const flags = [...flagList(flagsOf(protocol, kms)), "--state-dir", folder];
      const good = await runProgram(t, ["check", ...flags, "--sock", first.sock]);
      assert.match(good.stdout, /^✔ earlier value +what serve wrapped at .* still opens$/m);
      assert.equal(good.code, 0);
      const former = kms.keys.exchangeMaterial(id);
      const bad = await runProgram(t, ["check", ...flags, "--sock", first.sock]);
      assert.match(
        bad.stdout,
        /^✔ round trip .*\n✖ earlier value +what serve wrapped at .*\n +→ .* have the former key/m,
      );
      assert.equal(bad.code, 1);
      for (const form of ["hex", "base64", "base64url"] as const)
        assert.ok(!text.includes(former.toString(form)));
      const second = await serve(t, protocol, kms, { "state-dir": folder });
      await assertStopped(second);
      kms.keys.exchangeMaterial(id, former);
      await second.program.untilLogged("the key is healthy");
      await roundTrip(second);
      assert.equal(readFileSync(file, "utf8"), text, "the oldest value stays");
    });

    test("a damaged file in --state-dir costs one warning, and is replaced", async (t) => {
      const kms = await startKms(t);
      kms.keys.create({ name: "etcd" });
      const folder = temporaryFolder(t);
      const file = path.join(folder, "key-samples.json");
      writeFileSync(file, '{"version":1,"checksum":"","samples":[', { mode: 0o600 });
      const running = await serve(t, protocol, kms, { "state-dir": folder });
      const warning =
        "cannot read the file of --state-dir; the deep probe starts without earlier test values";
      await running.program.untilLogged(warning);
      assert.equal((await roundTrip(running)).healthz, "ok");
      await stop(running);
      assert.equal(running.program.log().filter(({ msg }) => msg === warning).length, 1);
      assert.doesNotThrow(() => JSON.parse(readFileSync(file, "utf8")));
    });
  });

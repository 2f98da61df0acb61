/** The built program before the embedded KMS, driven by grpc-js as kube-apiserver would: what the issues ask to see. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { status as Code } from "@grpc/grpc-js";
import { type EncryptResponse, KeyManagementService, type StatusResponse } from "../../gen/kms/v2/api_pb.ts";
import { type DevKms, type DevKmsOptions, startDevKms } from "../devkms/devkms.ts";
import {
  flagList,
  flagsOf,
  inTime,
  kmipFlagsOf,
  roundTrip,
  serving,
  type Serving,
  startLoad,
  unwrap,
  wrap,
} from "./serving.ts";

const { status, decrypt } = KeyManagementService.method;
const iv = "iv.okms.ovh.com";
const alg = "alg.okms.ovh.com";

async function kmsFor(t: TestContext, options: DevKmsOptions = {}): Promise<DevKms> {
  const kms = await startDevKms(options);
  t.after(() => kms.close());
  return kms;
}

async function statusOf({ client }: Serving): Promise<StatusResponse> {
  const result = await client.call(status, {}, inTime());
  assert.ok("reply" in result, String("error" in result && result.error));
  return result.reply;
}

for (const [from, to] of [
  ["1.4", "1.2"],
  ["1.2", "1.4"],
] as const)
  test(`a seed that was wrapped under KMIP ${from} is unwrapped under KMIP ${to}`, async (t) => {
    const first = await kmsFor(t, { kmip: { maxVersion: from }, rest: false });
    first.keys.create({ name: "etcd" });
    const second = await kmsFor(t, { kmip: { maxVersion: to }, rest: false, keys: first.keys });
    const plaintext = randomBytes(32);
    const wrapped = await wrap((await serving(t, flagList(kmipFlagsOf(first)))).client, plaintext);
    const other = await serving(t, flagList(kmipFlagsOf(second)));
    assert.deepEqual(await unwrap(other.client, wrapped), plaintext);
  });

test("a server that speaks KMIP 1.1 at most is refused in plain words, to the caller and in the log", async (t) => {
  const kms = await kmsFor(t, { kmip: { maxVersion: "1.1" }, rest: false });
  kms.keys.create({ name: "etcd" });
  const { client, program } = await serving(t, flagList(kmipFlagsOf(kms)));
  const result = await client.call(status, {}, inTime());
  assert.ok("error" in result);
  assert.match(result.error.details, /\(1\.2 to 1\.4\) \[KMIP_VERSION\]/);
  await program.untilLogged(/./);
  assert.match(program.stderr(), /speaks KMIP 1\.1 at most: .* exists from KMIP 1\.2 on/);
});

test("each Decrypt that can't be right has an error of its own, and the next good one works", async (t) => {
  const kms = await kmsFor(t, { rest: false });
  kms.keys.create({ name: "etcd" });
  const { client } = await serving(t, flagList(kmipFlagsOf(kms)));
  const plaintext = randomBytes(32);
  const good = await wrap(client, plaintext);
  const { ciphertext, annotations } = good;
  const flipped = Uint8Array.from(ciphertext);
  flipped[3] = (flipped[3] ?? 0) ^ 1;
  const aes = annotations[alg] ?? new Uint8Array();
  const table: readonly [string, Partial<EncryptResponse>, Code, string][] = [
    ["nothing", { ciphertext: new Uint8Array() }, Code.INVALID_ARGUMENT, "REQUEST_CIPHERTEXT_EMPTY"],
    ["15 bytes", { ciphertext: randomBytes(15) }, Code.INVALID_ARGUMENT, "REQUEST_CIPHERTEXT_TOO_SHORT"],
    ["1025 bytes", { ciphertext: randomBytes(1025) }, Code.INVALID_ARGUMENT, "REQUEST_CIPHERTEXT_TOO_LONG"],
    ["no IV", { annotations: { [alg]: aes } }, Code.INVALID_ARGUMENT, "REQUEST_IV_MISSING"],
    [
      "an IV of 11 bytes",
      { annotations: { [alg]: aes, [iv]: randomBytes(11) } },
      Code.INVALID_ARGUMENT,
      "REQUEST_IV_LENGTH",
    ],
    [
      "another alg",
      { annotations: { ...annotations, [alg]: Buffer.from("AES_CBC") } },
      Code.INVALID_ARGUMENT,
      "REQUEST_ALG_UNSUPPORTED",
    ],
    ["an unknown key", { keyId: "no-such-key" }, Code.NOT_FOUND, "KEY_NOT_FOUND"],
    ["one bit changed", { ciphertext: flipped }, Code.INVALID_ARGUMENT, "REQUEST_CIPHERTEXT_INVALID"],
  ];
  for (const [what, change, code, ours] of table) {
    const { ciphertext: bytes, keyId, annotations: notes } = { ...good, ...change };
    const result = await client.call(
      decrypt,
      { ciphertext: bytes, keyId, annotations: notes, uid: "e2e" },
      inTime(),
    );
    assert.ok("error" in result, what);
    assert.equal(result.error.code, code, what);
    assert.ok(result.error.details.includes(`[${ours}]`), `${what}: ${result.error.details}`);
    assert.deepEqual(await unwrap(client, good), plaintext, `after ${what}`);
  }
});

for (const protocol of ["kmip", "rest"] as const)
  describe(protocol, () => {
    test("a label that moves changes Status's key_id; what the old key wrapped is still read", async (t) => {
      const kms = await kmsFor(t);
      const old = kms.keys.create({ name: "etcd" });
      const running = await serving(t, [...flagList(flagsOf(protocol, kms)), "--probe-interval", "1s"]);
      assert.equal((await statusOf(running)).keyId, old.id);
      const plaintext = randomBytes(32);
      const wrapped = await wrap(running.client, plaintext);
      kms.keys.update(old.id, { names: [] });
      const next = kms.keys.create({ name: "etcd" });
      const until = Date.now() + 10_000;
      while ((await statusOf(running)).keyId !== next.id) {
        assert.ok(Date.now() < until, "the label was not followed");
        await sleep(100);
      }
      assert.equal((await wrap(running.client, plaintext)).keyId, next.id);
      assert.deepEqual(await unwrap(running.client, wrapped), plaintext);
    });

    test("with the KMS away for 5 s, no call of 16 callers with deadlines of 10 s fails", async (t) => {
      const kms = await kmsFor(t);
      kms.keys.create({ name: "etcd" });
      const running = await serving(t, flagList(flagsOf(protocol, kms)));
      await roundTrip(running);
      const load = startLoad(running.client, 16);
      await sleep(500);
      await kms.stop();
      await sleep(5000);
      const before = load.calls();
      await kms.start();
      await sleep(1500);
      await load.end();
      assert.ok(load.calls() >= before + 16, `${load.calls() - before} calls after the outage`);
    });
  });

test("REST: a label among 200 keys on pages of 10 is found", async (t) => {
  const kms = await kmsFor(t, { rest: { pageSize: 10 } });
  for (let index = 0; index < 199; index += 1) kms.keys.create({ name: `other-${index}` });
  const key = kms.keys.create({ name: "etcd" });
  const running = await serving(t, flagList(flagsOf("rest", kms)));
  assert.equal((await statusOf(running)).keyId, key.id);
  assert.ok((kms.restCalls()["listKeys"] ?? 0) >= 20, JSON.stringify(kms.restCalls()));
});

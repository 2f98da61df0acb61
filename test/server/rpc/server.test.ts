import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { type Backend, createKmsServer } from "../../../src/server/rpc/server.ts";
import { connectClient, grpcClient, startServer } from "../harness.ts";

const { status, encrypt, decrypt } = KeyManagementService.method;

test("a gRPC client gets v2, ok and the key, and back what it had wrapped", async (t) => {
  const { socketPath } = await startServer(t);
  const client = grpcClient(t, `unix://${socketPath}`);
  const { reply } = await client.call(status, {});
  assert.equal(reply?.version, "v2");
  assert.equal(reply.healthz, "ok");
  assert.equal(reply.keyId, "key-1");
  const seed = randomBytes(32);
  const wrapped = await client.call(encrypt, { plaintext: seed, uid: "u1" });
  assert.equal(wrapped.reply?.keyId, "key-1");
  const { ciphertext, keyId, annotations } = wrapped.reply;
  const unwrapped = await client.call(decrypt, { ciphertext, keyId, annotations, uid: "u2" });
  assert.deepEqual(Buffer.from(unwrapped.reply?.plaintext ?? []), seed);
});

for (const protocol of ["grpc", "connect"] as const) {
  test(`Connect's own client wraps and unwraps over ${protocol}`, async (t) => {
    const { socketPath } = await startServer(t);
    const client = connectClient(t, socketPath, protocol);
    assert.equal((await client.status({})).healthz, "ok");
    const seed = randomBytes(32);
    const { ciphertext, keyId, annotations } = await client.encrypt({ plaintext: seed, uid: "u1" });
    const { plaintext } = await client.decrypt({ ciphertext, keyId, annotations, uid: "u2" });
    assert.deepEqual(Buffer.from(plaintext), seed);
  });
}

/** A server that listens, and has no backend yet; what `startServer` gives has one for it. */
async function startEarly(t: TestContext, timeoutMs: number) {
  const it = await startServer(t);
  const path = `${it.socketPath}.early`;
  const backend = Promise.withResolvers<Backend>();
  const socket = { mode: 0o660, replace: false, path };
  const early = createKmsServer({ ...it, backend: backend.promise, timeoutMs, maxInflight: 8, socket });
  t.after(() => early.close());
  await early.listen();
  return { it, early, backend, path };
}

test("connections that come before what answers them wait for it, and those that have left meanwhile disturb nothing", async (t) => {
  const { it, backend, path } = await startEarly(t, 5000);
  const gone = connect(path);
  await once(gone, "connect");
  gone.destroy();
  const client = connectClient(t, path);
  let isAnswered = false;
  const answer = client.status({}).finally(() => (isAnswered = true));
  // Another server's answer, so that this one's had the time to come.
  await connectClient(t, it.socketPath).status({});
  assert.equal(isAnswered, false);
  backend.resolve(it);
  assert.equal((await answer).healthz, "ok");
});

test("connections that still wait are closed with the server", async (t) => {
  const { early, path } = await startEarly(t, 200);
  const waiting = connect(path);
  await once(waiting, "connect");
  waiting.resume();
  const closed = once(waiting, "close");
  while (early.connections() === 0) await setImmediate();
  await early.close();
  await closed;
});

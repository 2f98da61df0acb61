import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
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

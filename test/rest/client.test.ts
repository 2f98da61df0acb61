/** The REST client against a KMS and a network that misbehave: what is repeated, what is not, and for how long. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { callCount, outcomes, seed, startWithKey, withCode, within } from "./harness.ts";

for (const http2 of [true, false]) {
  const name = http2 ? "HTTP/2" : "HTTP/1.1";

  for (const status of [429, 502, 503, 504])
    test(`two replies of status ${status} over ${name} are followed by a third try that is answered`, async (t) => {
      const { kms, keyId, watched } = await startWithKey(t, http2);
      Object.assign(kms.faults, { rest: { status }, count: 2 });
      await watched.encryptor.encrypt(seed, keyId, within(5_000));
      assert.deepEqual(outcomes(watched.events), ["ok", "REST_STATUS", "REST_STATUS", "ok"]);
    });

  test(`a connection that the server closes in place of an answer over ${name} costs no call`, async (t) => {
    const { kms, keyId, watched } = await startWithKey(t, http2);
    Object.assign(kms.faults, { closeAfterRequest: true, count: 1 });
    await watched.encryptor.encrypt(seed, keyId, within(5_000));
    assert.deepEqual(outcomes(watched.events), ["ok", "CLOSED", "ok"]);
  });

  for (const fault of ["silent", "halfFrame"] as const)
    test(`a request that is met with ${fault} over ${name} is sent again, and the deadline kept`, async (t) => {
      const { kms, keyId, watched } = await startWithKey(t, http2);
      Object.assign(kms.faults, { [fault]: true, count: 1 });
      await watched.encryptor.encrypt(seed, keyId, within(1_500));
      await watched.next((event) => event.type === "exchange" && event.outcome === "CANCELED");
      assert.equal(callCount(kms, "encrypt"), 2);
    });

  test(`a slow KMS is waited for over ${name}: the first try still counts after a second was made`, async (t) => {
    const { kms, keyId, watched } = await startWithKey(t, http2);
    kms.faults.delayMs = 700;
    await watched.encryptor.encrypt(seed, keyId, within(1_500));
    assert.equal(callCount(kms, "encrypt"), 2);
  });

  test(`a KMS that never answers over ${name} is TIMEOUT of the response`, async (t) => {
    const { kms, keyId, watched } = await startWithKey(t, http2);
    kms.faults.silent = true;
    const begun = performance.now();
    await assert.rejects(watched.encryptor.encrypt(seed, keyId, within(600)), (error: { phase?: string }) => {
      assert.equal(error.phase, "response");
      return withCode("TIMEOUT", new RegExp(`waiting for the reply of ${kms.endpoint}`))(error);
    });
    assert.ok(performance.now() - begun < 2_000);
  });

  for (const [fault, change] of [
    ["bytes that are no JSON", { garbage: true }],
    ["JSON that ends in the middle", { rest: { brokenBody: true } }],
    ["a body without end", { rest: { hugeBody: true } }],
  ] as const)
    test(`a reply of ${fault} over ${name} is asked for once more, then REST_BODY with its status`, async (t) => {
      const { kms, keyId, watched } = await startWithKey(t, http2);
      Object.assign(kms.faults, change);
      await assert.rejects(
        watched.encryptor.encrypt(seed, keyId, within(5_000)),
        (error: { status?: number }) => {
          assert.equal(error.status, 200);
          return withCode("REST_BODY", new RegExp(kms.endpoint))(error);
        },
      );
      assert.equal(callCount(kms, "encrypt"), 2);
      Object.assign(kms.faults, { garbage: false, rest: {} });
      await watched.encryptor.encrypt(seed, keyId, within(5_000));
    });
}

test("a status 500 is not repeated, and tells the log what the API said", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  kms.faults.rest = { status: 500 };
  await assert.rejects(
    watched.encryptor.encrypt(seed, keyId, within(5_000)),
    (error: { details: Record<string, unknown> }) => {
      assert.equal(error.details["status"], 500);
      const { system, component, category, detail, errors } = error.details;
      assert.deepEqual([system, component, category, detail], [1, 2, "unavailable", 7]);
      assert.equal(errors, "refused by a fault");
      assert.match(String(error.details["requestId"]), /^[\da-f-]{36}$/);
      assert.match(String(error.details["errorId"]), /^[\da-f-]{36}$/);
      return withCode("REST_STATUS")(error);
    },
  );
  assert.equal(callCount(kms, "encrypt"), 1);
});

test("Retry-After is waited for where the budget has room for it", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  Object.assign(kms.faults, { rest: { status: 429, retryAfterSeconds: 1 }, count: 1 });
  const begun = performance.now();
  await watched.encryptor.encrypt(seed, keyId, within(8_000));
  assert.ok(performance.now() - begun >= 990);
});

test("a Retry-After beyond the budget ends the call at once, with the 429", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  Object.assign(kms.faults, { rest: { status: 429, retryAfterSeconds: 30 } });
  const begun = performance.now();
  await assert.rejects(
    watched.encryptor.encrypt(seed, keyId, within(10_000)),
    withCode("REST_STATUS", /status 429/),
  );
  assert.ok(performance.now() - begun < 5_000);
  assert.equal(callCount(kms, "encrypt"), 1);
});

test("a caller that leaves in mid-call gets its own reason at once", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  kms.faults.silent = true;
  const controller = new AbortController();
  const context = { signal: controller.signal, deadline: performance.now() + 60_000 };
  const call = watched.encryptor.encrypt(seed, keyId, context);
  await watched.next((event) => event.type === "message" && watched.events.indexOf(event) > 3);
  controller.abort();
  await assert.rejects(call, withCode("CANCELED"));
});

test("a caller whose time was over before it called sends nothing", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  const context = { signal: AbortSignal.abort(new DOMException("", "TimeoutError")), deadline: 0 };
  await assert.rejects(watched.encryptor.encrypt(seed, keyId, context), withCode("TIMEOUT"));
  assert.equal(callCount(kms, "encrypt"), 0);
});

test("no event holds a plaintext, a ciphertext or a PEM", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  const { encryptor, events } = watched;
  const wrapped = await encryptor.encrypt(seed, keyId, within(5_000));
  await encryptor.decrypt({ ...wrapped, keyId }, within(5_000));
  kms.faults.rest = { status: 500 };
  await assert.rejects(encryptor.encrypt(seed, keyId, within(5_000)));
  const told = events
    .map((event) => JSON.stringify(event) + ("dump" in event ? event.dump() : ""))
    .join("\n");
  assert.match(told, /POST .*encrypt, \d+ bytes/);
  const secrets = [
    Buffer.from(seed).toString("base64"),
    Buffer.from(wrapped.ciphertext).toString(),
    "-----BEGIN",
  ];
  for (const secret of secrets) assert.ok(!told.includes(secret.slice(0, 20)));
});

/** Several base URLs: which one is asked, when the next one takes over, and how the first one comes back. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { KmsEvent } from "../../src/encryptors/encryptor.ts";
import { startRelay } from "../devkms/relay.ts";
import {
  callCount,
  outcomes,
  type RestKms,
  seed,
  startKms,
  type Watched,
  watch,
  withCode,
  within,
} from "./harness.ts";
import { parseRestAddress } from "../../src/net/address.ts";

/** Two faces of one KMS, and an encryptor that prefers the first. */
async function startPair(
  t: TestContext,
): Promise<{ a: RestKms; b: RestKms; keyId: string; watched: Watched }> {
  const a = await startKms(t);
  const b = await startKms(t, { keys: a.keys, okmsId: a.okmsId });
  const keyId = a.keys.create({ name: "kek" }).id;
  const servers = [a.url, `${b.url}/`].map((url) => parseRestAddress(url));
  const watched = watch(t, a, { key: { id: keyId }, servers, checkMs: 50 });
  return { a, b, keyId, watched };
}

test("while the first server answers, the second is never asked", async (t) => {
  const { b, keyId, watched } = await startPair(t);
  for (let index = 0; index < 5; index += 1) await watched.encryptor.encrypt(seed, keyId, within(5_000));
  assert.equal(callCount(b, "encrypt"), 0);
  assert.equal(b.face.connections(), 0);
});

test("a first server that is away makes the second serve at once, and the first takes over when it is back", async (t) => {
  const { a, b, keyId, watched } = await startPair(t);
  const { encryptor, next } = watched;
  a.faults.rest = { status: 503 };
  await encryptor.encrypt(seed, keyId, within(5_000));
  assert.equal(callCount(b, "encrypt"), 1);
  const taken = await next(
    (event) => event.type === "endpoint" && event.endpoint === b.endpoint && event.inUse,
  );
  assert.match(taken.type === "endpoint" ? (taken.message ?? "") : "", new RegExp(`from ${a.endpoint}`));

  await encryptor.encrypt(seed, keyId, within(5_000));
  assert.equal(callCount(a, "encrypt"), 1, "the server that failed is not asked by calls");

  a.faults.rest = {};
  await next(
    (event) => event.type === "endpoint" && event.endpoint === a.endpoint && event.up && event.inUse,
  );
  await encryptor.encrypt(seed, keyId, within(5_000));
  assert.deepEqual([callCount(a, "encrypt"), callCount(b, "encrypt")], [2, 2]);
});

test("a first server where nothing listens costs the call no pause", async (t) => {
  const { a, b, keyId, watched } = await startPair(t);
  await a.face.close();
  await watched.encryptor.encrypt(seed, keyId, within(5_000));
  assert.equal(callCount(b, "encrypt"), 1);
});

test("a first server that hangs is overtaken by the second within the budget of one call", async (t) => {
  const { a, b, keyId } = await startPair(t);
  const relay = await startRelay(a.endpoint);
  t.after(() => relay.close());
  relay.hang();
  const servers = [`https://127.0.0.1:${relay.port}`, b.url].map((url) => parseRestAddress(url));
  const { encryptor, next } = watch(t, b, { key: { id: keyId }, servers });
  await encryptor.encrypt(seed, keyId, within(3_000));
  assert.equal(callCount(b, "encrypt"), 1);
  await next((event) => event.type === "endpoint" && event.endpoint === b.endpoint && event.inUse);
  await encryptor.encrypt(seed, keyId, within(3_000));
  assert.equal(callCount(b, "encrypt"), 2);
});

/** A dial that the server's certificate ended. */
const isUntrusted = (event: KmsEvent): boolean =>
  event.type === "connection" && event.change === "failed" && /certificate/.test(event.message);

test("a certificate that is not trusted at the first server is no reason not to ask the second", async (t) => {
  const { b, keyId } = await startPair(t);
  const stranger = await startKms(t, { certificate: { ipAddresses: ["127.0.0.2"] }, okmsId: b.okmsId });
  const { encryptor, events } = watch(t, b, {
    key: { id: keyId },
    servers: [parseRestAddress(stranger.url), parseRestAddress(b.url)],
  });
  await encryptor.encrypt(seed, keyId, within(3_000));
  assert.ok(events.some(isUntrusted));
});

test("a refusal of the request by the first server is the answer: the second is not asked", async (t) => {
  const { a, b, keyId, watched } = await startPair(t);
  a.faults.rest = { status: 403 };
  await assert.rejects(watched.encryptor.encrypt(seed, keyId, within(3_000)), withCode("REST_STATUS", /403/));
  assert.equal(callCount(b, "encrypt"), 0);
});

test("with both servers away a call keeps trying both, and is answered by the one that comes back", async (t) => {
  const { a, b, keyId, watched } = await startPair(t);
  a.faults.rest = { status: 503 };
  b.faults.rest = { status: 502 };
  const call = watched.encryptor.encrypt(seed, keyId, within(8_000));
  await watched.next((event) => event.type === "endpoint" && event.endpoint === b.endpoint && !event.up);
  b.faults.rest = {};
  await call;
});

test("what is no reply from the first server is asked of the second, at once", async (t) => {
  const { a, b, keyId, watched } = await startPair(t);
  a.faults.garbage = true;
  await Promise.all(Array.from({ length: 8 }, () => watched.encryptor.encrypt(seed, keyId, within(3_000))));
  assert.equal(callCount(b, "encrypt"), 8);
});

test("what is no reply costs no call where the other server is only just back", async (t) => {
  const { a, b, keyId, watched } = await startPair(t);
  b.faults.rest = { status: 503 };
  a.faults.garbage = true;
  const call = watched.encryptor.encrypt(seed, keyId, within(5_000));
  await watched.next((event) => event.type === "exchange" && event.endpoint === b.endpoint);
  b.faults.rest = {};
  await call;
});

test("a KMS that is back just before a call's time is over is asked, however long the pauses had become", async (t) => {
  const { a, keyId } = await startPair(t);
  const { encryptor } = watch(t, a, { key: { id: keyId }, servers: [parseRestAddress(a.url)] });
  a.faults.rest = { status: 503 };
  const back = setTimeout(() => {
    a.faults.rest = {};
  }, 2_100);
  t.after(() => clearTimeout(back));
  await encryptor.encrypt(seed, keyId, within(2_600));
});

test("a first server that is slow is waited for where the second says that it can't", async (t) => {
  const { a, b, keyId, watched } = await startPair(t);
  await watched.encryptor.encrypt(seed, keyId, within(5_000));
  a.faults.delayMs = 1_200;
  b.faults.rest = { status: 503 };
  await watched.encryptor.encrypt(seed, keyId, within(3_000));
  assert.ok(callCount(b, "encrypt") > 0);
});

/** A pair of which the first is in use, and the second's connections have lain idle and died. */
async function startWithDeadIdle(
  t: TestContext,
): Promise<Pick<Watched, "encryptor" | "events"> & { a: RestKms; keyId: string }> {
  const { a, b, keyId } = await startPair(t);
  const relay = await startRelay(b.endpoint);
  t.after(() => relay.close());
  const servers = [a.url, `https://127.0.0.1:${relay.port}`].map((url) => parseRestAddress(url));
  const { encryptor, events, next } = watch(t, b, { key: { id: keyId }, servers, checkMs: 50 });
  a.faults.rest = { status: 503 };
  await encryptor.encrypt(seed, keyId, within(5_000));
  a.faults.rest = {};
  await next(
    (event) => event.type === "endpoint" && event.endpoint === a.endpoint && event.inUse && event.up,
  );
  relay.hang(relay.connections());
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  return { a, keyId, encryptor, events };
}

test("what lay idle to the second server, and has died meanwhile, is not what a call falls back on", async (t) => {
  const { a, keyId, encryptor, events } = await startWithDeadIdle(t);
  a.faults.rest = { status: 503 };
  await encryptor.encrypt(seed, keyId, within(5_000));
  assert.ok(!outcomes(events).includes("CANCELED"), "no try was given up for another");
});

test("nor what a call is sent to again while the first server is silent", async (t) => {
  const { a, keyId, encryptor, events } = await startWithDeadIdle(t);
  a.faults.silent = true;
  await encryptor.encrypt(seed, keyId, within(5_000));
  const givenUp = outcomes(events).filter((outcome) => outcome === "CANCELED");
  assert.equal(givenUp.length, 1, "the first server's try only");
});

for (const [what, fault] of [
  ["says 500", { status: 500 }],
  ["redirects", { status: 302 }],
  ["says 204, which is no success of the API", { status: 204 }],
  ["shows a page with status 404", { status: 404, page: "<html>no such page</html>" }],
  ["shows a page with status 403", { status: 403, page: "<html>forbidden</html>" }],
] as const)
  test(`a first server that ${what} is left for the second, and not returned to before it is well`, async (t) => {
    const { a, b, keyId, watched } = await startPair(t);
    const { encryptor, next } = watched;
    a.faults.rest = fault;
    await encryptor.encrypt(seed, keyId, within(5_000));
    await next((event) => event.type === "endpoint" && event.endpoint === b.endpoint && event.inUse);
    // Several recalls later.
    await new Promise((resolve) => setTimeout(resolve, 300));
    const asked = callCount(a, "encrypt");
    await encryptor.encrypt(seed, keyId, within(5_000));
    assert.equal(callCount(a, "encrypt"), asked);
    a.faults.rest = {};
    await next(
      (event) => event.type === "endpoint" && event.endpoint === a.endpoint && event.up && event.inUse,
    );
  });

test("a request that both servers fail at with 500 is told as that, and moves nobody", async (t) => {
  const { a, b, keyId, watched } = await startPair(t);
  await watched.encryptor.encrypt(seed, keyId, within(5_000));
  a.faults.rest = { status: 500 };
  b.faults.rest = { status: 500 };
  await assert.rejects(watched.encryptor.encrypt(seed, keyId, within(5_000)), withCode("REST_STATUS", /500/));
  a.faults.rest = {};
  await watched.encryptor.encrypt(seed, keyId, within(5_000));
  assert.equal(callCount(a, "encrypt"), 3, "the first server stays the one that is asked");
});

test("a second server that was down is told to be up again, though nobody needs it", async (t) => {
  const { a, b, keyId, watched } = await startPair(t);
  const { encryptor, next } = watched;
  a.faults.rest = { status: 503 };
  b.faults.rest = { status: 503 };
  await assert.rejects(encryptor.encrypt(seed, keyId, within(500)));
  a.faults.rest = {};
  await encryptor.encrypt(seed, keyId, within(5_000));
  await next(
    (event) => event.type === "endpoint" && event.endpoint === a.endpoint && event.up && event.inUse,
  );
  b.faults.rest = {};
  await next(
    (event) => event.type === "endpoint" && event.endpoint === b.endpoint && event.up && !event.inUse,
  );
});

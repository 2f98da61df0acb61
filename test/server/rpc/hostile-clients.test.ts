/**
 * Clients of the socket that take what they can: streams that are never read or never ended, resets, connections by the
 * hundred. The session of a client that gets answers is served under all of them, and so is a new client.
 */
import assert from "node:assert/strict";
import type { ClientHttp2Session } from "node:http2";
import { once } from "node:events";
import { connect } from "node:net";
import type { TestContext } from "node:test";
import { describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { EncryptRequestSchema, KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { grpcClient, startServer } from "../harness.ts";
import type { Harness } from "../harness.ts";
import {
  frame,
  headersFrame,
  openRawConnection,
  openSession,
  openStream,
  replyOf,
  resetFrame,
  roundTrip,
} from "../raw-http2.ts";

const statusRequest = frame(new Uint8Array());
const encryptRequest = frame(
  toBinary(EncryptRequestSchema, create(EncryptRequestSchema, { plaintext: new Uint8Array(32) })),
);
const OVERLOADED = 8;

async function statusOf(
  session: ClientHttp2Session,
  method: "Status" | "Encrypt",
): Promise<number | undefined> {
  const body = method === "Status" ? statusRequest : encryptRequest;
  return (await replyOf(openStream(session, method).end(body))).status;
}

/** A session that has read a good answer, as kube-apiserver's. */
async function provenSession(t: TestContext, { socketPath }: Harness): Promise<ClientHttp2Session> {
  const session = await openSession(t, socketPath);
  assert.equal(await statusOf(session, "Status"), 0);
  return session;
}

/** Fills every slot with calls that wait for their own clients, 15 a session. */
async function fillSlots(
  t: TestContext,
  it: Harness,
  leave: (session: ClientHttp2Session) => void,
): Promise<void> {
  for (let index = 0; index < 180; index += 1) {
    const session = await openSession(t, it.socketPath);
    session.settings({ initialWindowSize: 0 });
    await roundTrip(session);
    for (let call = 0; call < 15; call += 1) leave(session);
    await roundTrip(session);
  }
}

describe("when every slot is taken by calls that wait for their own clients", () => {
  for (const [what, leave] of [
    ["to end", (session: ClientHttp2Session) => openStream(session, "Encrypt")],
    ["to be read", (session: ClientHttp2Session) => openStream(session, "Encrypt").end(encryptRequest)],
    [
      "to be read, of Status",
      (session: ClientHttp2Session) => openStream(session, "Status").end(statusRequest),
    ],
  ] as const)
    test(`${what}: a session in use is served, and a new client by its Status`, async (t) => {
      const it = await startServer(t, { timeoutMs: 1000 });
      const kept = await provenSession(t, it);
      await fillSlots(t, it, leave);
      for (let round = 0; round < 20; round += 1) {
        assert.equal(await statusOf(kept, "Encrypt"), 0);
        assert.equal(await statusOf(kept, "Status"), 0);
      }
      const { call } = grpcClient(t, `unix://${it.socketPath}`);
      const { status, encrypt } = KeyManagementService.method;
      assert.equal((await call(status, {})).reply?.healthz, "ok");
      assert.equal((await call(encrypt, { plaintext: new Uint8Array(32) })).reply?.keyId, "key-1");
    });

  test("a session in use that has itself many unread answers is not closed", async (t) => {
    const it = await startServer(t, { timeoutMs: 1000 });
    const kept = await provenSession(t, it);
    for (let index = 0; index < 200; index += 1) openStream(kept, "Encrypt");
    await fillSlots(t, it, (session) => openStream(session, "Encrypt"));
    const other = await provenSession(t, it);
    for (let round = 0; round < 20; round += 1) assert.equal(await statusOf(other, "Encrypt"), 0);
    assert.equal(kept.destroyed, false);
    assert.equal(await statusOf(kept, "Status"), 0);
  });
});

test("a client that has read an answer, and then leaves hundreds unread, displaces no new client", async (t) => {
  const it = await startServer(t, { timeoutMs: 10_000 });
  const fresh = await openSession(t, it.socketPath);
  const stream = openStream(fresh, "Encrypt");
  const status = replyOf(stream).then((reply) => reply.status);
  await roundTrip(fresh);
  const others: ClientHttp2Session[] = [];
  for (let index = 0; index < 4; index += 1) {
    const greedy = await provenSession(t, it);
    others.push(greedy);
    greedy.settings({ initialWindowSize: 0 });
    await roundTrip(greedy);
    for (let call = 0; call < 600; call += 1) openStream(greedy, "Status").end(statusRequest);
    await roundTrip(greedy);
  }
  assert.equal(fresh.destroyed, false);
  stream.end(encryptRequest);
  assert.equal(await status, 0);
  for (const other of others) other.destroy();
});

describe("the slots for calls to the KMS", () => {
  test("are left to clients that have read an answer, the last quarter of them", async (t) => {
    const it = await startServer(t, { maxInflight: 8, timeoutMs: 1000 });
    const kept = await provenSession(t, it);
    it.encryptor.delayMs = 60_000;
    const strangers = await Promise.all(Array.from({ length: 10 }, () => openSession(t, it.socketPath)));
    const codes = strangers.map((session) => statusOf(session, "Encrypt"));
    while (it.server.inflight() < 6) await new Promise(setImmediate);
    const refused = await Promise.race(codes);
    assert.equal(refused, OVERLOADED);
    assert.equal(it.server.inflight(), 6);
    it.encryptor.delayMs = 0;
    assert.equal(await statusOf(kept, "Encrypt"), 0);
  });

  for (const greedy of [1, 3])
    test(`are kept for each client that has read an answer, however many ${greedy} others ask for`, async (t) => {
      const it = await startServer(t, { maxInflight: 64, timeoutMs: 1000 });
      const kept = await provenSession(t, it);
      const others = await Promise.all(Array.from({ length: greedy }, () => provenSession(t, it)));
      it.encryptor.delayMs = 60_000;
      for (const other of others) {
        const codes = Array.from({ length: 80 }, () => statusOf(other, "Encrypt"));
        assert.equal(await Promise.race(codes), OVERLOADED);
      }
      assert.equal(it.server.inflight(), (64 * greedy) / (greedy + 1));
      it.encryptor.delayMs = 0;
      assert.equal(await statusOf(kept, "Encrypt"), 0);
    });

  test("are all for one client that has read an answer where there is no other", async (t) => {
    const it = await startServer(t, { maxInflight: 64, timeoutMs: 1000 });
    const only = await provenSession(t, it);
    it.encryptor.delayMs = 60_000;
    const codes = Array.from({ length: 80 }, () => statusOf(only, "Encrypt"));
    assert.equal(await Promise.race(codes), OVERLOADED);
    assert.equal(it.server.inflight(), 64);
    it.encryptor.delayMs = 0;
  });
});

test("streams that are reset with their own headers are no calls, and delay nobody", async (t) => {
  const it = await startServer(t, { timeoutMs: 1000 });
  const kept = await provenSession(t, it);
  const raw = await openRawConnection(t, it.socketPath);
  raw.resume();
  for (let round = 0; round < 20; round += 1) {
    const ids = Array.from({ length: 100 }, (_, index) => 1 + 2 * (100 * round + index));
    raw.write(Buffer.concat(ids.flatMap((id) => [headersFrame(id, "Encrypt"), resetFrame(id)])));
    assert.equal(await statusOf(kept, "Status"), 0);
  }
  const canceled = /requests_total\{method="Encrypt",code="Canceled"\} \d+/.exec(await it.metrics.render());
  assert.equal(canceled?.[0], undefined);
  assert.equal(it.server.inflight(), 0);
});

for (const [who, open] of [
  ["a new client", (t: TestContext, it: Harness) => openSession(t, it.socketPath)],
  ["a client that has read an answer", provenSession],
] as const)
  test(`clients take turns: the many calls of ${who} do not delay another's first`, async (t) => {
    const it = await startServer(t, { timeoutMs: 5000 });
    const floods = await Promise.all([1, 2, 3, 4].map(() => open(t, it)));
    const fresh = await openSession(t, it.socketPath);
    let answered = 0;
    for (const session of floods)
      for (let index = 0; index < 400; index += 1)
        openStream(session, "Status")
          .end(statusRequest)
          .once("response", () => (answered += 1));
    assert.equal(await statusOf(fresh, "Status"), 0);
    assert.ok(answered < 800, `${answered} of 1600 calls were answered before`);
  });

describe("when there are more connections than the limit allows", () => {
  for (const [what, open] of [
    ["silent", (t: TestContext, path: string) => Promise.resolve(void t.after(destroy(connect({ path }))))],
    ["with a preface", async (t: TestContext, path: string) => void (await openRawConnection(t, path))],
    [
      "with half a call",
      async (t: TestContext, path: string) => {
        (await openRawConnection(t, path)).write(headersFrame(1, "Encrypt"));
      },
    ],
  ] as const)
    test(`${what}: those in use stay, a new client gets in, and there are never more`, async (t) => {
      const it = await startServer(t, { maxConnections: 32, timeoutMs: 1000 });
      const kept = await Promise.all(Array.from({ length: 4 }, () => provenSession(t, it)));
      for (let round = 0; round < 20; round += 1) {
        for (let index = 0; index < 25; index += 1) await open(t, it.socketPath);
        for (const session of kept) assert.equal(await statusOf(session, "Status"), 0);
        while (it.server.connections() > 32) await new Promise(setImmediate);
        const session = await provenSession(t, it);
        session.close();
        await once(session, "close");
      }
      await it.logger.waitFor(({ message }) => message.startsWith("too many connections"));
    });
});

function destroy(socket: ReturnType<typeof connect>): () => void {
  socket.on("error", () => undefined).resume();
  return () => socket.destroy();
}

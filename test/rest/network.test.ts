/** The REST client where the network or the server is away, hangs, or ends in the middle; and its own end. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createSecureServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { test, type TestContext } from "node:test";
import type { KmsEvent } from "../../src/encryptors/encryptor.ts";
import { startRelay } from "../devkms/relay.ts";
import { startRestFace } from "../devkms/rest-face.ts";
import { eventually } from "../kmip/echo-server.ts";
import { seed, startKms, startWithKey, watch, withCode, within } from "./harness.ts";
import { parseRestAddress } from "../../src/net/address.ts";

for (const http2 of [true, false]) {
  const name = http2 ? "HTTP/2" : "HTTP/1.1";

  test(`128 callers at once over ${name} are all answered`, async (t) => {
    const { keyId, watched } = await startWithKey(t, http2);
    const calls = Array.from({ length: 128 }, () => watched.encryptor.encrypt(seed, keyId, within(8_000)));
    const texts = (await Promise.all(calls)).map(({ ciphertext }) => Buffer.from(ciphertext).toString());
    assert.equal(new Set(texts).size, 128);
  });

  test(`a server away for a second under a load of 16 callers over ${name} fails no call`, async (t) => {
    const { kms, keyId, watched } = await startWithKey(t, http2);
    const { encryptor } = watched;
    const end = new AbortController();
    const caller = async (): Promise<number> => {
      let calls = 0;
      for (; !end.signal.aborted; calls += 1) {
        const wrapped = await encryptor.encrypt(seed, keyId, within(10_000));
        assert.deepEqual(await encryptor.decrypt({ ...wrapped, keyId }, within(10_000)), seed);
      }
      return calls;
    };
    const load = Promise.all(Array.from({ length: 16 }, caller));
    await kms.face.close();
    await watched.next((event) => event.type === "endpoint" && !event.up);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const issued = await kms.authority.issue({ commonName: "kms", ipAddresses: ["127.0.0.1"], server: true });
    const tls = { ...issued, ca: kms.authority.caPem };
    const back = await startRestFace({ ...kms, tls, http2, port: kms.face.port });
    t.after(() => back.close());
    await watched.next((event) => event.type === "endpoint" && event.up && watched.events.indexOf(event) > 5);
    end.abort();
    const calls = await load;
    assert.ok(calls.every((count) => count > 0));
  });
}

test("a KMS that stays away is repeated within the budget, and ends with what stood in the way", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  await kms.face.close();
  await assert.rejects(
    watched.encryptor.encrypt(seed, keyId, within(700)),
    withCode("CONNECT", /nothing listens/),
  );
  const dials = watched.events.filter((event) => event.type === "connection" && event.change === "failed");
  assert.ok(dials.length >= 3);
});

test("a path that swallows bytes without a word is left for fresh connections once these work", async (t) => {
  const { kms, keyId } = await startWithKey(t);
  const relay = await startRelay(kms.endpoint);
  t.after(() => relay.close());
  const watched = watch(t, kms, {
    key: { id: keyId },
    servers: [parseRestAddress(`https://127.0.0.1:${relay.port}`)],
  });
  await watched.encryptor.resolveKey(within(5_000));
  relay.hang();
  const call = watched.encryptor.encrypt(seed, keyId, within(8_000));
  // Resumed, the relay takes new connections again; what it swallowed of the old one is lost for good.
  await eventually(
    () => watched.encryptor.connections().connecting > 0,
    "a dial beside the connection that hangs",
  );
  relay.resume();
  await call;
});

test("closing in mid-call fails it with SHUTTING_DOWN and leaves no socket", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  kms.faults.silent = true;
  const calls = Array.from({ length: 20 }, () => watched.encryptor.encrypt(seed, keyId, within(60_000)));
  const settled = Promise.allSettled(calls);
  await watched.next((event) => event.type === "connection" && watched.events.indexOf(event) > 3);
  await Promise.all([watched.encryptor.close(), watched.encryptor.close()]);
  for (const result of await settled)
    assert.ok(result.status === "rejected" && withCode("SHUTTING_DOWN")(result.reason));
  const last = watched.events.findLast((event) => event.type === "connection");
  assert.deepEqual(last?.type === "connection" && last.counts, { idle: 0, busy: 0, connecting: 0 });
  await assert.rejects(watched.encryptor.encrypt(seed, keyId, within(1_000)), withCode("SHUTTING_DOWN"));
});

test("closing while a dial hangs ends the dial too", async (t) => {
  const { kms, keyId } = await startWithKey(t);
  const relay = await startRelay(kms.endpoint);
  t.after(() => relay.close());
  relay.hang();
  const watched = watch(t, kms, {
    key: { id: keyId },
    servers: [parseRestAddress(`https://127.0.0.1:${relay.port}`)],
  });
  const call = watched.encryptor.resolveKey(within(60_000));
  const failed = assert.rejects(call, withCode("SHUTTING_DOWN"));
  await eventually(() => watched.encryptor.connections().connecting > 0, "a dial");
  await watched.encryptor.close();
  await failed;
});

test("a dial that hangs is TIMEOUT of the connect", async (t) => {
  const { kms, keyId } = await startWithKey(t);
  const relay = await startRelay(kms.endpoint);
  t.after(() => relay.close());
  relay.hang();
  const watched = watch(t, kms, {
    key: { id: keyId },
    servers: [parseRestAddress(`https://127.0.0.1:${relay.port}`)],
  });
  await assert.rejects(watched.encryptor.resolveKey(within(400)), (error: { phase?: string }) => {
    assert.equal(error.phase, "connect");
    return withCode(
      "TIMEOUT",
      /connecting to 127\.0\.0\.1:\d+ \(it takes TCP and does not end the TLS handshake\)$/,
    )(error);
  });
});

test("a server that drops every request, late, is told as that and not as TIMEOUT", async (t) => {
  const { kms, watched, keyId } = await startWithKey(t);
  kms.faults.closeAfterRequest = true;
  kms.faults.delayMs = 300;
  await assert.rejects(watched.encryptor.encrypt(seed, keyId, within(1_500)), withCode("CLOSED"));
});

test("connections that go silent while one of the same server answers fail none of those who wait on them", async (t) => {
  const { kms, keyId } = await startWithKey(t);
  const relay = await startRelay(kms.endpoint, { delayMs: 10 });
  t.after(() => relay.close());
  const { encryptor, next } = watch(t, kms, {
    key: { id: keyId },
    servers: [parseRestAddress(`https://127.0.0.1:${relay.port}`)],
  });
  const end = new AbortController();
  const caller = async (): Promise<void> => {
    while (!end.signal.aborted) await encryptor.encrypt(seed, keyId, within(2_500));
  };
  // More than the second chances that replies earn: the first who are answered elsewhere must free the others.
  const load = Promise.all(Array.from({ length: 40 }, caller));
  await next((event) => event.type === "connection" && event.counts.busy >= 8);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  relay.hang(relay.connections() - 1);
  const over = new Promise((resolve) => setTimeout(resolve, 1_500));
  await Promise.race([over, load]);
  end.abort();
  await load;
});

/** An HTTP/2 server with mutual TLS that is no KMS. */
async function startHttp2(t: TestContext, onSession: (session: ServerHttp2Session) => void, settings = {}) {
  const kms = await startKms(t);
  const issued = await kms.authority.issue({ commonName: "kms", ipAddresses: ["127.0.0.1"], server: true });
  const server = createSecureServer({ ...issued, ca: kms.authority.caPem, requestCert: true, settings });
  const sockets = new Set<Socket>();
  server.on("secureConnection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket));
  });
  server.on("session", (session) => onSession(session.on("error", () => {})));
  server.on("stream", (stream) => {
    stream.on("error", () => {}).respond({ ":status": 500 }, { endStream: true });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = server.address() as AddressInfo;
  const keyId = randomUUID();
  const { encryptor, events } = watch(t, kms, {
    key: { id: keyId },
    servers: [parseRestAddress(`https://127.0.0.1:${port}`)],
  });
  return { events, call: (ms: number) => encryptor.encrypt(seed, keyId, within(ms)).catch(() => undefined) };
}

/** Connections that are open, by what the client told. */
function openOf(events: readonly KmsEvent[]): number {
  const count = (to: string): number =>
    events.filter((event) => event.type === "connection" && event.change === to).length;
  return count("opened") - count("closed");
}

test("connections on which a server allows no stream do not pile up", async (t) => {
  const { events, call } = await startHttp2(t, () => {}, { maxConcurrentStreams: 0 });
  for (let round = 0; round < 3; round += 1) await Promise.all(Array.from({ length: 4 }, () => call(1_500)));
  await eventually(() => openOf(events) <= 4, "few connections");
});

test("a connection that a server has ended and does not close is closed from here", async (t) => {
  const { events, call } = await startHttp2(t, (session) => {
    setTimeout(() => session.destroyed || session.goaway(), 50).unref();
  });
  for (let round = 0; round < 3; round += 1) {
    await call(400);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await eventually(() => openOf(events) === 0, "no connection that is left");
});

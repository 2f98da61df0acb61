import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { Health } from "../../../gen/grpc/health/v1/health_pb.ts";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { createKmsServer } from "../../../src/server/rpc/server.ts";
import { connectClient, grpcClient, startServer } from "../harness.ts";
import {
  frame,
  frameTypes,
  headersFrame,
  openSession,
  openStream,
  preface,
  replyOf,
  roundTrip,
} from "../raw-http2.ts";

const { status, encrypt } = KeyManagementService.method;
const seed = randomBytes(32);
const goAwayType = 7;

test("close lets what is in flight finish, tells clients to go away, and leaves no socket and no connection", async (t) => {
  const it = await startServer(t);
  const client = connectClient(t, it.socketPath);
  await client.status({});
  const session = await openSession(t, it.socketPath);
  const told = once(session, "goaway");
  it.encryptor.delayMs = 100;
  const inFlight = client.encrypt({ plaintext: seed });
  while (it.server.inflight() === 0) await new Promise(setImmediate);
  await it.server.close();
  assert.equal((await inFlight).keyId, "key-1");
  await told;
  assert.equal(existsSync(it.socketPath), false);
  assert.equal(it.server.connections(), 0);
  assert.equal(it.server.inflight(), 0);
  assert.equal(it.server.address(), undefined);
});

test("close while it begins to listen leaves no socket", async (t) => {
  const it = await startServer(t);
  const file = path.join(path.dirname(it.socketPath), "second.sock");
  const socket = { mode: 0o660, replace: false, path: file };
  const second = createKmsServer({
    ...it,
    backend: Promise.resolve(it),
    timeoutMs: 5000,
    maxInflight: 8,
    socket,
  });
  const listening = second.listen();
  await second.close();
  await listening;
  assert.equal(existsSync(file), false);
  assert.equal(second.address(), undefined);
});

test("close does not wait longer than --timeout for a call that never ends", async (t) => {
  const it = await startServer(t, { timeoutMs: 300 });
  const session = await openSession(t, it.socketPath);
  await replyOf(openStream(session, "Status").end(frame(new Uint8Array())));
  it.encryptor.hangs = true;
  const reply = replyOf(openStream(session, "Encrypt").end(frame(Uint8Array.of(0x0a, 1, 7))));
  await roundTrip(session);
  const started = performance.now();
  await it.server.close();
  assert.ok(performance.now() - started < 1500);
  await reply;
  assert.equal(it.server.connections(), 0);
});

test("close does not wait for clients that are idle or say nothing", async (t) => {
  const it = await startServer(t, { timeoutMs: 20_000 });
  const silent = connect({ path: it.socketPath });
  t.after(() => silent.destroy());
  await once(silent, "connect");
  const client = grpcClient(t, `unix://${it.socketPath}`);
  await client.call(status, {});
  const started = performance.now();
  await it.server.close();
  assert.ok(performance.now() - started < 2000);
  assert.equal(it.server.connections(), 0);
});

test("a client that writes as the server ends reads its GOAWAY, and no broken pipe", async (t) => {
  const it = await startServer(t, { timeoutMs: 20_000 });
  const client = connect({ path: it.socketPath, allowHalfOpen: true });
  t.after(() => client.destroy());
  const chunks: Buffer[] = [];
  client.on("data", (chunk: Buffer) => chunks.push(chunk));
  client.write(preface);
  await once(client, "data");
  const closing = it.server.close();
  await once(client, "end");
  // As a gRPC client does that has not come to read the GOAWAY yet: it repeats the call elsewhere once it has.
  await new Promise<void>((resolve, reject) => {
    client.write(headersFrame(1, "Status"), (error) => (error ? reject(error) : resolve()));
  });
  assert.ok(frameTypes(Buffer.concat(chunks)).includes(goAwayType));
  client.end();
  await closing;
});

test("close can be called twice", async (t) => {
  const it = await startServer(t);
  await Promise.all([it.server.close(), it.server.close()]);
  assert.equal(existsSync(it.socketPath), false);
});

test("a client of a server that was closed and is there again goes on by itself", async (t) => {
  const it = await startServer(t);
  const client = grpcClient(t, `unix://${it.socketPath}`, { "grpc.initial_reconnect_backoff_ms": 100 });
  await client.call(status, {});
  await it.server.close();
  await startServer(t, { socket: { path: it.socketPath } });
  const { reply } = await client.call(encrypt, { plaintext: seed }, { deadline: Date.now() + 4000 });
  assert.equal(reply?.keyId, "key-1");
});

test("a server that is replaced sends its clients to the new one without a failed call", async (t) => {
  const old = await startServer(t);
  const client = grpcClient(t, `unix://${old.socketPath}`, { "grpc.initial_reconnect_backoff_ms": 100 });
  await client.call(status, {});
  await startServer(t, {
    socket: { path: old.socketPath, replace: true },
    prepare: (encryptor) => (encryptor.keyId = "key-of-the-new"),
  });
  const seen = new Set<string>();
  while (!seen.has("key-of-the-new")) {
    const { reply, error } = await client.call(status, {}, { deadline: Date.now() + 3000 });
    assert.equal(error, undefined);
    seen.add(reply?.keyId ?? "");
  }
  assert.deepEqual([...seen], ["key-1", "key-of-the-new"]);
  await old.server.close();
  assert.equal(existsSync(old.socketPath), true);
});

test("a socket file that is deleted under the server is made again, counted and told", async (t) => {
  const it = await startServer(t);
  unlinkSync(it.socketPath);
  await it.logger.waitFor(({ message }) => message.includes("created again"));
  assert.equal((await connectClient(t, it.socketPath).status({})).version, "v2");
  assert.match(await it.metrics.render(), /socket_rebinds_total(\{[^}]*\})? 1/);
});

test("a listen that is refused says why, and leaves the path to its owner", async (t) => {
  const it = await startServer(t);
  await assert.rejects(startServer(t, { socket: { path: it.socketPath } }), { code: "SOCKET" });
  assert.equal((await connectClient(t, it.socketPath).status({})).version, "v2");
});

test("more connections than 512 are closed, those that are in use go on, and who tries again gets in", async (t) => {
  const it = await startServer(t);
  const client = connectClient(t, it.socketPath);
  await client.status({});
  const clients = Array.from({ length: 520 }, () =>
    connect({ path: it.socketPath })
      .on("error", () => undefined)
      .resume(),
  );
  t.after(() => {
    for (const each of clients) each.destroy();
  });
  await it.logger.waitFor(({ message }) => message.includes("too many"));
  assert.equal((await client.status({})).healthz, "ok");
  // One that is being closed is counted until it is.
  while (it.server.connections() > 512) await new Promise(setImmediate);
  const newcomer = connectClient(t, it.socketPath);
  let answer: string | undefined;
  while (answer === undefined)
    answer = await newcomer.status({}).then(
      ({ healthz }) => healthz,
      () => sleep(20, undefined),
    );
  assert.equal(answer, "ok");
  assert.equal((await client.status({})).healthz, "ok");
});

function healthClient(
  t: Parameters<typeof startServer>[0],
  socketPath: string,
): ReturnType<typeof createClient<typeof Health>> {
  const baseUrl = "http://localhost";
  const sessionManager = new Http2SessionManager(baseUrl, undefined, {
    createConnection: () => connect({ path: socketPath }),
  });
  t.after(() => {
    sessionManager.abort();
  });
  return createClient(Health, createGrpcTransport({ baseUrl, sessionManager }));
}

test("health says serving for the server and for the KMS service, and knows no other", async (t) => {
  const it = await startServer(t);
  await it.status.current({ signal: AbortSignal.timeout(5000) });
  const client = healthClient(t, it.socketPath);
  assert.equal((await client.check({ service: "" })).status, 1);
  assert.equal((await client.check({ service: "v2.KeyManagementService" })).status, 1);
  await assert.rejects(
    client.check({ service: "other" }),
    (error) => error instanceof ConnectError && error.code === Code.NotFound,
  );
  const { error } = await it.logger.waitFor((line) => line.message === "call failed");
  assert.equal(error, "unknown service", "no stack: a client asked for what there is not");
});

test("health's watch tells each change, outlives --timeout, and ends when the server does", async (t) => {
  const it = await startServer(t, { timeoutMs: 200, probeIntervalMs: 50, graceMs: 0 });
  await it.status.current({ signal: AbortSignal.timeout(5000) });
  const seen: number[] = [];
  const watching = (async (): Promise<void> => {
    for await (const { status: now } of healthClient(t, it.socketPath).watch({})) {
      seen.push(now);
      if (seen.length === 1) it.encryptor.resolveError = new Error("away");
      if (seen.length === 2) setTimeout(() => (it.encryptor.resolveError = undefined), 300);
      if (seen.length === 3) void it.server.close();
    }
  })();
  await watching;
  assert.deepEqual(seen, [1, 2, 1]);
});

test("health's watch of a service that is unknown says so and stays open", async (t) => {
  const it = await startServer(t);
  const watch = healthClient(t, it.socketPath).watch({ service: "other" })[Symbol.asyncIterator]();
  const first = await watch.next();
  assert.equal(first.done === true ? undefined : first.value.status, 3);
  const next = watch.next();
  await it.server.close();
  await next;
});

test("close ends everything where the socket's folder has become something else", async (t) => {
  const it = await startServer(t);
  const client = connectClient(t, it.socketPath);
  await client.status({});
  const folder = path.dirname(it.socketPath);
  rmSync(folder, { recursive: true });
  writeFileSync(folder, "");
  await it.server.close();
  assert.equal(it.server.connections(), 0);
  assert.equal(it.server.address(), undefined);
});

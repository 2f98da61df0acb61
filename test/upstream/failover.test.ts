/** Failover: the first server that answers serves, the next takes over, and the first is returned to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { KmipResultError } from "../../src/errors.ts";
import { startRelay } from "../devkms/relay.ts";
import { echo, eventually, holdReplies, markOf, startEchoServer } from "../kmip/echo-server.ts";
import { connectTo, greet, healthsOf, hold, send, startLoad } from "./harness.ts";

test("The most preferred server serves while it answers, and the others see nothing", async () => {
  await using first = await startEchoServer();
  await using second = await startEchoServer();
  await using upstream = connectTo([first, second]);
  await Promise.all([1, 2, 3].map((mark) => send(upstream, mark)));
  assert.ok(first.messages() > 0);
  assert.equal(second.accepted(), 0);
});

test("The next server takes over at once where the first refuses connections", async () => {
  const first = await startEchoServer();
  await first.close();
  await using second = await startEchoServer();
  await using upstream = connectTo([first, second], { headStartMs: 60_000 });
  assert.equal(await send(upstream, 1), 1);
  assert.equal(second.connections(), 1);
});

test("The next server takes over after the head start where the first hangs", async () => {
  await using first = await startEchoServer({ onMessage: () => {} });
  await using second = await startEchoServer();
  await using upstream = connectTo([first, second], { headStartMs: 20 });
  assert.equal(await send(upstream, 1), 1);
  await eventually(() => first.connections() === 0, "the attempt at the first is called off");
});

test("A server that answers only after its head start still serves where no other does", async () => {
  const second = await startEchoServer();
  await second.close();
  await using first = await startEchoServer({
    onMessage: (message, socket) => setTimeout(() => socket.write(message), 40),
  });
  await using upstream = connectTo([first, second], { headStartMs: 5 });
  assert.equal(await send(upstream, 1), 1);
});

test("Callers go on at the next server when the first goes away, and return to it when it is back", async (t) => {
  await using server = await startEchoServer();
  const relay = await startRelay(server.address);
  t.after(() => relay.close());
  await using second = await startEchoServer();
  await using upstream = connectTo([relay, second], { checkMs: 20 });
  await send(upstream, 1);
  await relay.stop();
  assert.equal(await send(upstream, 2).catch(() => send(upstream, 2)), 2);
  assert.equal(second.connections(), 1);
  await relay.start();
  await eventually(() => second.connections() === 0, "the second is not in use any more");
  assert.equal(await send(upstream, 3), 3);
  assert.deepEqual(healthsOf(upstream, [relay, second]), [
    [1, true, true],
    [1, false, true],
    [2, true, true],
    [1, true, true],
  ]);
});

test("No exchange fails while the first server is returned to", async () => {
  const away = await startEchoServer();
  await away.close();
  await using second = await startEchoServer();
  await using upstream = connectTo([away, second], { checkMs: 20 });
  await send(upstream, 0);
  const load = startLoad(upstream, 8);
  await using first = await startEchoServer({ port: away.port });
  await eventually(() => second.connections() === 0, "the first is in use again");
  await load.end();
  assert.ok(first.messages() > 0);
});

test("Where no server answers the caller hears of each", async () => {
  const servers = await Promise.all([startEchoServer(), startEchoServer()]);
  for (const server of servers) await server.close();
  await using upstream = connectTo(servers);
  await assert.rejects(send(upstream, 1, 120), (error) => {
    assert.ok(error instanceof Error);
    for (const { address } of servers) assert.ok(error.message.includes(address), error.message);
    return true;
  });
});

test("A caller whom every server refuses hears the refusal, as from a single server", async () => {
  await using first = await startEchoServer();
  await using second = await startEchoServer();
  const refusal = { operation: "Discover Versions", reason: "Permission Denied", resultMessage: "" };
  await using upstream = connectTo([first, second], {
    prepare: () => Promise.reject(new KmipResultError(refusal)),
  });
  await assert.rejects(send(upstream, 1), KmipResultError);
});

test("A preferred server that hangs is tried once at a time, and the one in use goes on serving", async () => {
  await using first = await startEchoServer({ onMessage: () => {} });
  await using second = await startEchoServer();
  await using upstream = connectTo([first, second], {
    headStartMs: 150,
    dialTimeoutMs: 200,
    checkMs: 10,
  });
  await send(upstream, 1);
  await eventually(() => first.accepted() >= 3, "the first is tried again and again");
  // A busy server may see the end of one try only after the beginning of the next.
  assert.ok(first.mostConnections() <= 2, `${first.mostConnections()} at a time`);
  assert.equal(await send(upstream, 2), 2);
  assert.equal(second.accepted(), 1);
});

test("A server in use that loses its connections all the time puts off no return to the preferred one", async () => {
  const away = await startEchoServer();
  await away.close();
  await using second = await startEchoServer({
    onMessage: (message, socket) => (markOf(message) === 0 ? echo(message, socket) : socket.end(message)),
  });
  await using upstream = connectTo([away, second], { checkMs: 100 });
  assert.equal(await send(upstream, 1), 1);
  await using first = await startEchoServer({ port: away.port });
  while (first.messages() < 2) await send(upstream, 2).catch(() => undefined);
  assert.ok(second.accepted() > 1);
});

test("A preferred server that takes long to dial is stayed with once it was returned to", async () => {
  await using first = await startEchoServer();
  await using second = await startEchoServer();
  await using upstream = connectTo([first, second], {
    headStartMs: 40,
    checkMs: 100,
    prepare: async (connection, signal) => {
      await greet(connection, signal);
      if (connection.endpoint.port === first.port) await sleep(200, undefined, { signal });
      return "echo";
    },
  });
  const onSecond = await hold(upstream);
  assert.equal(onSecond.connection.endpoint.port, second.port);
  onSecond.release();
  await eventually(() => second.connections() === 0, "the first is in use");
  first.cut();
  await eventually(() => upstream.counts().idle === 0, "its connections are gone");
  for (let nth = 0; nth < 2; nth += 1) assert.equal(await send(upstream, nth), nth);
  assert.equal(second.accepted(), 1);
});

test("A preferred server that needs longer than a caller can wait is not returned to", async () => {
  await using first = await startEchoServer();
  await using second = await startEchoServer();
  await using upstream = connectTo([first, second], {
    headStartMs: 20,
    checkMs: 20,
    prepare: async (connection, signal) => {
      if (connection.endpoint.port === first.port) await sleep(1500, undefined, { signal });
      return "echo";
    },
  });
  assert.equal(await send(upstream, 1), 1);
  await eventually(() => first.accepted() === 3 && first.connections() === 0, "two returns are given up");
  assert.equal(second.connections(), 1);
});

test("A dial that ends late does not change which endpoint is active", async () => {
  const held = holdReplies();
  await using first = await startEchoServer({ onMessage: held.onMessage });
  await using second = await startEchoServer();
  await using upstream = connectTo([first, second], { headStartMs: 20, checkMs: 5000 });
  const calls = [send(upstream, 1), send(upstream, 2)];
  assert.equal(await Promise.race(calls), 1);
  first.onMessage = echo;
  held.release();
  await Promise.all(calls);
  await eventually(() => upstream.counts().connecting === 0, "the dials to the first have ended");
  const before = first.messages();
  assert.equal(await send(upstream, 3), 3);
  assert.equal(first.messages(), before, "the second stays active");
});

test("Servers that refuse by now are not waited for because of attempts that hang from before", async () => {
  const refusal = { operation: "Discover Versions", reason: "Permission Denied", resultMessage: "" };
  let isHanging = true;
  await using server = await startEchoServer();
  await using upstream = connectTo([server], {
    headStartMs: 20,
    dialTimeoutMs: 60_000,
    prepare: (_connection, signal) =>
      isHanging
        ? new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
        : Promise.reject(new KmipResultError(refusal)),
  });
  const waiting = assert.rejects(send(upstream, 1), KmipResultError);
  await eventually(() => server.accepted() >= 2, "attempts hang");
  isHanging = false;
  await waiting;
});

test("A server behind the one in use that was down is told to be up again, though nobody needs it", async (t) => {
  await using server = await startEchoServer();
  await using other = await startEchoServer();
  const [first, second] = [await startRelay(server.address), await startRelay(other.address)];
  t.after(() => Promise.all([first.close(), second.close()]));
  await using upstream = connectTo([first, second], { checkMs: 20 });
  await first.stop();
  await second.stop();
  await assert.rejects(send(upstream, 1, 200));
  const stateOf = (endpoint: string): boolean | undefined =>
    upstream.events
      .flatMap((event) => (event.type === "endpoint" && event.endpoint === endpoint ? [event.up] : []))
      .at(-1);
  assert.equal(stateOf(second.address), false);
  await first.start();
  assert.equal(await send(upstream, 2), 2);
  assert.equal(stateOf(second.address), false);
  await second.start();
  await eventually(() => stateOf(second.address) === true, "the second is told to be up");
  assert.equal(await send(upstream, 3), 3);
  await eventually(() => other.connections() === 0, "it was only looked at");
});

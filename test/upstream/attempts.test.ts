/** Attempts: servers that accept connections and serve nobody, slow ones, silent ones, and what each costs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { echo, eventually, markOf, type OnMessage, startEchoServer } from "../kmip/echo-server.ts";
import { NetworkError } from "../../src/errors.ts";
import type { MessageConnection } from "../../src/kmip/connection.ts";
import { connectTo, healthsOf, send, within } from "./harness.ts";

/** Answers what `prepare` sends, and does with requests as it is told. */
function only(onRequest: OnMessage): OnMessage {
  return (message, socket) => (markOf(message) === 0 ? echo(message, socket) : onRequest(message, socket));
}

const halfAlive: readonly (readonly [string, OnMessage, RegExp])[] = [
  ["answers no request", only(() => {}), /gave no answer for \d+ ms/],
  ["hangs up at each request", only((_message, socket) => socket.destroy()), /closed the connection/],
  [
    "answers each request with garbage",
    only((_message, socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n")),
    /does not speak KMIP/,
  ],
];
for (const [what, onMessage, reason] of halfAlive)
  test(`A server that takes connections and ${what} is left for the next one`, async () => {
    await using first = await startEchoServer({ onMessage });
    await using second = await startEchoServer();
    await using upstream = connectTo([first, second]);
    for (const mark of [1, 2, 3]) assert.equal(await send(upstream, mark), mark);
    assert.equal(first.accepted(), 1);
    assert.equal(upstream.counts().idle, 1);
    const healths = healthsOf(upstream, [first, second]);
    assert.deepEqual(
      healths.findLast(([nth]) => nth === 2),
      [2, true, true],
    );
    assert.equal(healths.findLast(([nth]) => nth === 1)?.[1], false);
    const why = upstream.events.flatMap((event) =>
      event.type === "endpoint" && !event.up ? [event.message] : [],
    );
    assert.match(why.join(), reason);
  });

test("A refusal of the client certificate that comes with the first request, as in TLS 1.3, is told after three", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server]);
  const refusal = new NetworkError("TLS", "refused", {
    endpoint: server.address,
    sent: true,
    clientCertificate: "refused",
  });
  let sent = 0;
  const refused = (connection: MessageConnection) => {
    sent += 1;
    connection.destroy(refusal);
    return { reply: Promise.reject(refusal), abort: () => undefined };
  };
  const call = upstream.call({ send: refused, verdict: () => "fail" }, { signal: within(3_000) });
  await assert.rejects(call, refusal);
  assert.equal(sent, 3);
});

test("A server that fails again whenever it is returned to is returned to less and less", async () => {
  await using first = await startEchoServer({ onMessage: only((_message, socket) => socket.destroy()) });
  await using second = await startEchoServer();
  await using upstream = connectTo([first, second], { checkMs: 20 });
  const end = performance.now() + 800;
  while (performance.now() < end) assert.equal(await send(upstream, 1), 1);
  // At most two connections for each return: every 15 to 25 ms without ejection, with it after 20, 40, 80, 160 and 240 ms.
  assert.ok(first.accepted() >= 2 && first.accepted() <= 14, `${first.accepted()} connections to the first`);
});

test("One lost connection is no reason to leave a server that serves", async () => {
  await using first = await startEchoServer();
  await using second = await startEchoServer();
  await using upstream = connectTo([first, second]);
  assert.equal(await send(upstream, 1), 1);
  let isFirst = true;
  first.onMessage = (message, socket) => {
    if (isFirst) socket.destroy();
    else echo(message, socket);
    isFirst = false;
  };
  assert.equal(await send(upstream, 2), 2);
  assert.equal(second.accepted(), 0);
});

test("A server that does one request at a time gets no more of them for being slow", async () => {
  const serviceMs = 50;
  const callers = 30;
  let free = 0;
  let requests = 0;
  await using server = await startEchoServer({
    onMessage: only((message, socket) => {
      requests += 1;
      free = Math.max(free, performance.now()) + serviceMs;
      setTimeout(() => echo(message, socket), free - performance.now());
    }),
  });
  await using upstream = connectTo([server], { maxConnections: callers });
  const marks = Array.from({ length: callers }, (_, caller) => caller + 1);
  assert.deepEqual(await Promise.all(marks.map((mark) => send(upstream, mark))), marks);
  // The three second chances that there are at first, and those that replies have earned.
  assert.ok(requests <= callers + 3 + callers / 10, `${requests} requests of ${callers} callers`);
});

test("A single path that falls silent is got around while the server answers others", async () => {
  let isSilent = false;
  await using server = await startEchoServer({
    onMessage: only((message, socket) => {
      if (markOf(message) === 7 && !isSilent) isSilent = true;
      else echo(message, socket);
    }),
  });
  await using upstream = connectTo([server]);
  for (let nth = 0; nth < 3; nth += 1) await send(upstream, 1);
  const over = new AbortController();
  const others = [2, 3].map(async (mark) => {
    while (!over.signal.aborted) assert.equal(await send(upstream, mark), mark);
  });
  assert.equal(await send(upstream, 7), 7);
  assert.equal(isSilent, true);
  over.abort();
  await Promise.all(others);
});

test("While a server hangs there are never more connections than the maximum, and once it is back each caller is served", async () => {
  let hangs = true;
  await using server = await startEchoServer({
    onMessage: only((message, socket) => {
      if (!hangs) echo(message, socket);
    }),
  });
  await using upstream = connectTo([server], { maxConnections: 2 });
  const calls = Promise.all(Array.from({ length: 12 }, (_, caller) => send(upstream, caller + 1)));
  await eventually(() => server.accepted() >= 4, "overdue attempts got new connections");
  hangs = false;
  assert.equal((await calls).length, 12);
  assert.ok(server.mostConnections() <= 2, `${server.mostConnections()} connections at a time`);
});

test("One slow reply takes no connection along that was answered on meanwhile", async () => {
  let isSlow = false;
  await using server = await startEchoServer({
    onMessage: only((message, socket) => {
      setTimeout(() => echo(message, socket), isSlow && markOf(message) === 1 ? 400 : 1);
    }),
  });
  await using upstream = connectTo([server], { maxConnections: 3 });
  for (let nth = 0; nth < 3; nth += 1)
    await Promise.all([send(upstream, 4), send(upstream, 5), send(upstream, 6)]);
  isSlow = true;
  const slow = send(upstream, 1);
  while (await Promise.race([slow.then(() => false), send(upstream, 2).then(() => true)]));
  assert.equal(await slow, 1);
  const why = upstream.events.flatMap((event) =>
    "change" in event && event.change === "closed" ? [event.message] : [],
  );
  assert.ok(why.filter((reason) => reason.includes("another reply")).length <= 1, why.join("; "));
});

test("A connection that is lost with its first reply is a dial that failed, and is followed by a pause", async () => {
  await using server = await startEchoServer({
    onMessage: (message, socket) => socket.write(Buffer.concat([message, message.subarray(0, 8)])),
  });
  await using upstream = connectTo([server]);
  await assert.rejects(send(upstream, 1, 500), { code: "KMIP_UNEXPECTED" });
  assert.ok(server.accepted() <= 8, `${server.accepted()} connections in half a second`);
});

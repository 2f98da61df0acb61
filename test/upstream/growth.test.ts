/** Growth: connections are opened as they are needed, up to the maximum, a few at a time, and close when idle. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { echo, eventually, startEchoServer } from "../kmip/echo-server.ts";
import { connectTo, hold, send, within } from "./harness.ts";

describe("a pool", () => {
  test("opens nothing before it is asked", async () => {
    await using server = await startEchoServer();
    await using upstream = connectTo([server]);
    await new Promise(setImmediate);
    assert.deepEqual(upstream.counts(), { idle: 0, busy: 0, connecting: 0 });
    assert.equal(server.accepted(), 0);
  });

  test("serves one caller after another on one connection", async () => {
    await using server = await startEchoServer();
    await using upstream = connectTo([server]);
    for (let mark = 1; mark <= 5; mark += 1) assert.equal(await send(upstream, mark), mark);
    assert.equal(server.accepted(), 1);
  });

  test("opens no more connections than its maximum, however many callers there are", async () => {
    await using server = await startEchoServer({
      onMessage: (message, socket) => setTimeout(echo, 2, message, socket),
    });
    await using upstream = connectTo([server], { maxConnections: 3 });
    const marks = Array.from({ length: 60 }, (_, mark) => mark);
    assert.deepEqual(await Promise.all(marks.map((mark) => send(upstream, mark))), marks);
    assert.equal(server.mostConnections(), 3);
  });

  test("opens at most its maximum, two at a time where it is not told otherwise", async () => {
    await using server = await startEchoServer();
    await using upstream = connectTo([server]);
    const held = await Promise.all(Array.from({ length: 8 }, () => hold(upstream)));
    await assert.rejects(hold(upstream, within(20)), { code: "TIMEOUT" });
    for (const one of held) await one.release();
    assert.equal(server.mostConnections(), 8);
    const connecting = upstream.events.flatMap((event) =>
      event.type === "connection" ? [event.counts.connecting] : [],
    );
    assert.ok(Math.max(...connecting) <= 2, `connecting: ${connecting.join(" ")}`);
    assert.ok(server.mostHandshakes() <= 2, `${server.mostHandshakes()} handshakes at once`);
  });

  test("opens another in the place of one that was lost, as soon as somebody needs it", async () => {
    await using server = await startEchoServer();
    await using upstream = connectTo([server], { maxConnections: 1 });
    const held = await hold(upstream);
    const next = send(upstream, 2);
    server.cut();
    await held.connection.closed;
    assert.equal(await next, 2);
    assert.equal(server.accepted(), 2);
  });
});

describe("an idle connection", () => {
  test("is closed after its time, unless it is the last one", async () => {
    await using server = await startEchoServer();
    await using upstream = connectTo([server], { idleMs: 40 });
    const held = await Promise.all([1, 2, 3].map(() => hold(upstream)));
    for (const one of held) await one.release();
    assert.equal(upstream.counts().idle, 3);
    await eventually(() => server.connections() === 1, "all but one are closed");
    assert.equal(upstream.counts().idle, 1);
    assert.equal(await send(upstream, 1), 1);
    assert.equal(server.accepted(), 3);
  });

  test("that the server has closed is not used", async () => {
    await using server = await startEchoServer();
    await using upstream = connectTo([server]);
    await send(upstream, 1);
    server.cut();
    await eventually(() => upstream.counts().idle === 0, "the client has seen the end of the connection");
    assert.equal(await send(upstream, 2), 2);
  });
});

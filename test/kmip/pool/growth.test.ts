/** Growth: connections are opened as they are needed, up to the maximum, a few at a time, and close when idle. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { echo, eventually, startEchoServer } from "../echo-server.ts";
import { poolBefore, send, within } from "./harness.ts";

describe("a pool", () => {
  test("opens nothing before it is asked", async () => {
    await using server = await startEchoServer();
    await using pool = poolBefore([server]);
    await new Promise(setImmediate);
    assert.deepEqual(pool.counts(), { idle: 0, busy: 0, connecting: 0 });
    assert.equal(server.accepted(), 0);
  });

  test("serves one caller after another on one connection", async () => {
    await using server = await startEchoServer();
    await using pool = poolBefore([server]);
    for (let mark = 1; mark <= 5; mark += 1) assert.equal(await send(pool, mark), mark);
    assert.equal(server.accepted(), 1);
  });

  test("opens no more connections than its maximum, however many callers there are", async () => {
    await using server = await startEchoServer({
      onMessage: (message, socket) => setTimeout(echo, 2, message, socket),
    });
    await using pool = poolBefore([server], { maxConnections: 3 });
    const marks = Array.from({ length: 60 }, (_, mark) => mark);
    assert.deepEqual(await Promise.all(marks.map((mark) => send(pool, mark))), marks);
    assert.equal(server.mostConnections(), 3);
  });

  test("opens eight connections at most, two at a time, where it is not told otherwise", async () => {
    await using server = await startEchoServer();
    await using pool = poolBefore([server]);
    const leases = await Promise.all(Array.from({ length: 8 }, () => pool.checkOut(within(3000))));
    await assert.rejects(pool.checkOut(within(20)), { code: "TIMEOUT" });
    for (const lease of leases) lease.release();
    assert.equal(server.mostConnections(), 8);
    const connecting = pool.events.flatMap((event) =>
      event.type === "connection" ? [event.counts.connecting] : [],
    );
    assert.ok(Math.max(...connecting) <= 2, `connecting: ${connecting.join(" ")}`);
    assert.ok(server.mostHandshakes() <= 2, `${server.mostHandshakes()} handshakes at once`);
  });

  test("opens another in the place of one that was lost, as soon as somebody needs it", async () => {
    await using server = await startEchoServer();
    await using pool = poolBefore([server], { maxConnections: 1 });
    const lease = await pool.checkOut(within(3000));
    const next = send(pool, 2);
    server.cut();
    await lease.connection.closed;
    lease.release();
    assert.equal(await next, 2);
    assert.equal(server.accepted(), 2);
  });
});

describe("an idle connection", () => {
  test("is closed after its time, unless it is the last one", async () => {
    await using server = await startEchoServer();
    await using pool = poolBefore([server], { idleMs: 40 });
    const leases = await Promise.all([1, 2, 3].map(() => pool.checkOut(within(3000))));
    for (const lease of leases) lease.release();
    assert.equal(pool.counts().idle, 3);
    await eventually(() => server.connections() === 1, "all but one are closed");
    assert.equal(pool.counts().idle, 1);
    assert.equal(await send(pool, 1), 1);
    assert.equal(server.accepted(), 3);
  });

  test("that the server has closed is not lent", async () => {
    await using server = await startEchoServer();
    await using pool = poolBefore([server]);
    await send(pool, 1);
    server.cut();
    await eventually(() => pool.counts().idle === 0, "the pool has seen the end of the connection");
    assert.equal(await send(pool, 2), 2);
  });
});

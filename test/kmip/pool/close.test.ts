/** The end: everything that waits or is under way fails with one reason, and no socket is left. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ProviderError } from "../../../src/errors.ts";
import { eventually, messageOf, startEchoServer } from "../echo-server.ts";
import { poolBefore, send, within } from "./harness.ts";

test("Closing a pool ends its idle connections, its lent ones, its retired ones and its waiting callers", async () => {
  await using server = await startEchoServer();
  await using pool = poolBefore([server], { maxConnections: 2 });
  const [retired, lent] = await Promise.all([pool.checkOut(within(3000)), pool.checkOut(within(3000))]);
  assert.ok(retired && lent);
  retired.doubt("overdue");
  const other = await pool.checkOut(within(3000));
  server.onMessage = () => {};
  const underWay = [retired, lent].map((lease) => lease.connection.exchange(messageOf(), within(3000)));
  const waiting = pool.checkOut(within(3000));
  other.connection.destroy(new ProviderError("CLOSED", "lost"));
  const all = Promise.allSettled([...underWay, waiting]);
  const closing = pool.close();
  for (const result of await all) {
    assert.equal(result.status, "rejected");
    assert.equal(result.reason.code, "SHUTTING_DOWN");
  }
  await closing;
  await eventually(() => server.connections() === 0, "the server sees no connection");
});

test("Closing a pool calls off the dials that are under way", async () => {
  await using server = await startEchoServer({ onMessage: () => {} });
  await using pool = poolBefore([server]);
  const waiting = pool.checkOut(within(5000));
  await eventually(() => server.messages() === 1, "the dial is under way");
  const failed = assert.rejects(waiting, { code: "SHUTTING_DOWN" });
  await pool.close();
  await failed;
  await eventually(() => server.connections() === 0, "the dial's socket is closed");
  assert.equal(server.accepted(), 1);
});

test("A closed pool lends nothing, and may be closed again", async () => {
  await using server = await startEchoServer();
  await using pool = poolBefore([server]);
  await send(pool, 1);
  await pool.close();
  await assert.rejects(pool.checkOut(within(1000)), { code: "SHUTTING_DOWN" });
  await pool.close();
  assert.deepEqual(pool.counts(), { idle: 0, busy: 0, connecting: 0 });
});

/** Lending: never twice, first come first served, and a caller that leaves disturbs nobody. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { ProviderError, TimeoutError } from "../../../src/errors.ts";
import { parseEndpoint } from "../../../src/kmip/endpoint.ts";
import { createPool, type Lease } from "../../../src/kmip/pool.ts";
import { eventually, holdReplies, markOf, messageOf, startEchoServer } from "../echo-server.ts";
import { poolBefore, send, within } from "./harness.ts";

test("A connection is lent to one caller at a time, whatever callers do and whenever they leave", async () => {
  await using server = await startEchoServer();
  const caller = fc.record({
    holdTurns: fc.nat(4),
    exchanges: fc.nat(2),
    end: fc.constantFrom("release", "doubt", "destroy"),
    leavesAfterMs: fc.option(fc.nat(8), { nil: undefined }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(caller, { maxLength: 24 }),
      fc.integer({ min: 1, max: 4 }),
      async (callers, maxConnections) => {
        await using pool = poolBefore([server], { maxConnections });
        const lent = new Set<unknown>();
        await Promise.all(
          callers.map(async ({ holdTurns, exchanges, end, leavesAfterMs }, index) => {
            const signal = leavesAfterMs === undefined ? within(5000) : within(leavesAfterMs);
            let lease: Lease;
            try {
              lease = await pool.checkOut(signal);
            } catch (error) {
              assert.ok(error instanceof TimeoutError && leavesAfterMs !== undefined, String(error));
              return;
            }
            const { connection } = lease;
            assert.ok(!lent.has(connection), "lent to two callers");
            lent.add(connection);
            try {
              for (let turn = 0; turn < holdTurns; turn += 1) await new Promise(setImmediate);
              for (let sent = 0; sent < exchanges; sent += 1) {
                const reply = await connection.exchange(messageOf(index), signal);
                assert.equal(markOf(reply), index);
              }
            } catch (error) {
              assert.ok(error instanceof ProviderError, String(error));
            }
            if (end === "destroy") connection.destroy(new ProviderError("CANCELED", "the caller broke it"));
            if (end === "doubt") lease.doubt("overdue");
            lent.delete(connection);
            lease.release();
          }),
        );
        const { idle, busy } = pool.counts();
        assert.equal(busy, 0);
        assert.ok(idle <= maxConnections);
      },
    ),
    { numRuns: 40 },
  );
});

test("Callers that wait are served in the order in which they came", async () => {
  await using server = await startEchoServer();
  await using pool = poolBefore([server], { maxConnections: 1 });
  const first = await pool.checkOut(within(3000));
  const served: number[] = [];
  const waiting = [1, 2, 3, 4, 5].map(async (mark) => {
    served.push(await send(pool, mark));
  });
  first.release();
  await Promise.all(waiting);
  assert.deepEqual(served, [1, 2, 3, 4, 5]);
});

test("A caller whose time is over while all connections are in use hears so, and the others keep their turn", async () => {
  await using server = await startEchoServer();
  await using pool = poolBefore([server], { maxConnections: 1 });
  const first = await pool.checkOut(within(3000));
  const impatient = pool.checkOut(within(20));
  const patient = send(pool, 7);
  await assert.rejects(impatient, (error) => {
    assert.ok(error instanceof TimeoutError);
    assert.equal(error.phase, "checkout");
    assert.match(error.message, /all 1 connections were in use/);
    return true;
  });
  first.release();
  assert.equal(await patient, 7);
});

test("A caller that leaves does not end the dial that others wait for", async () => {
  const held = holdReplies();
  await using server = await startEchoServer(held);
  await using pool = poolBefore([server], { maxConnections: 1 });
  const leaving = new AbortController();
  const left = pool.checkOut(leaving.signal);
  const stays = pool.checkOut(within(3000));
  await eventually(() => server.messages() === 1, "the dial has come to its first message");
  leaving.abort();
  await assert.rejects(left, { code: "CANCELED" });
  held.release();
  (await stays).release();
  assert.equal(server.accepted(), 1);
});

test("A connection that nobody waited for any more is kept for the next caller", async () => {
  await using server = await startEchoServer();
  await using pool = poolBefore([server]);
  const leaving = new AbortController();
  const left = pool.checkOut(leaving.signal);
  leaving.abort();
  await assert.rejects(left, { code: "CANCELED" });
  await eventually(() => pool.counts().idle === 1, "the connection is idle");
  assert.equal(await send(pool, 3), 3);
  assert.equal(server.accepted(), 1);
});

test("Before the first TLS material every caller is told that there is none", async () => {
  const pool = createPool({
    endpoints: [parseEndpoint("127.0.0.1:5696")],
    prepare: async () => "nothing",
    maxMessageBytes: 4096,
  });
  await assert.rejects(pool.checkOut(within(1000)), { code: "TLS_FILES" });
  await pool.close();
});

/** Lending: never twice, first come first served, and a caller that leaves disturbs nobody. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import * as fc from "fast-check";
import { ProviderError, TimeoutError } from "../../src/errors.ts";
import type { MessageConnection } from "../../src/kmip/connection.ts";
import { parseKmipAddress } from "../../src/net/address.ts";
import type { Lease } from "../../src/upstream/pool.ts";
import { createUpstream } from "../../src/upstream/upstream.ts";
import { eventually, holdReplies, markOf, messageOf, startEchoServer } from "../kmip/echo-server.ts";
import { connectTo, echoTransport, exchangeOn, hold, poolOf, send, within } from "./harness.ts";

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
        await using before = poolOf(server, { maxConnections });
        const { pool } = before;
        const lent = new Set<unknown>();
        await Promise.all(
          callers.map(async ({ holdTurns, exchanges, end, leavesAfterMs }, index) => {
            const signal = leavesAfterMs === undefined ? within(5000) : within(leavesAfterMs);
            let lease: Lease<MessageConnection>;
            try {
              lease = await before.checkOut(signal);
            } catch (error) {
              assert.ok(error instanceof TimeoutError && leavesAfterMs !== undefined, String(error));
              return;
            }
            const { connection, member } = lease;
            assert.ok(!lent.has(connection), "lent to two callers");
            lent.add(connection);
            let replies = 0;
            try {
              for (let turn = 0; turn < holdTurns; turn += 1) await new Promise(setImmediate);
              for (; replies < exchanges; replies += 1) {
                const reply = await exchangeOn(connection, messageOf(index), signal);
                assert.equal(markOf(reply), index);
              }
            } catch (error) {
              assert.ok(error instanceof ProviderError, String(error));
            }
            if (end === "destroy") connection.destroy(new ProviderError("CANCELED", "the caller broke it"));
            if (end === "doubt") pool.doubt(member, member.lastUsedAt);
            lent.delete(connection);
            lease.release(replies > 0);
            const { idle, busy, connecting } = pool.counts();
            assert.ok(idle + busy + connecting <= maxConnections);
          }),
        );
        assert.equal(pool.counts().busy, 0);
        assert.ok(pool.counts().idle <= maxConnections);
      },
    ),
    { numRuns: 40 },
  );
});

test("Callers that wait are served in the order in which they came", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server], { maxConnections: 1 });
  const first = await hold(upstream);
  const served: number[] = [];
  const waiting = [1, 2, 3, 4, 5].map(async (mark) => {
    served.push(await send(upstream, mark));
  });
  await first.release();
  await Promise.all(waiting);
  assert.deepEqual(served, [1, 2, 3, 4, 5]);
});

test("A caller whose time is over while all connections are in use hears so, and the others keep their turn", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server], { maxConnections: 1 });
  const first = await hold(upstream);
  const impatient = hold(upstream, within(20));
  const patient = send(upstream, 7);
  await assert.rejects(impatient, (error) => {
    assert.ok(error instanceof TimeoutError);
    assert.equal(error.phase, "checkout");
    assert.match(error.message, /waiting for a connection to .*: all of them were in use \(1\)$/);
    return true;
  });
  await first.release();
  assert.equal(await patient, 7);
});

test("A caller whose time is over while others cannot be opened hears that more of them would not help", async () => {
  await using server = await startEchoServer();
  let dials = 0;
  const prepare = async (_: unknown, signal: AbortSignal): Promise<void> => {
    dials += 1;
    if (dials > 1) await once(signal, "abort");
  };
  await using upstream = connectTo([server], { maxConnections: 2, prepare });
  const first = await hold(upstream);
  await assert.rejects(hold(upstream, within(50)), {
    message: /all of them were in use \(1\), and 1 more could not be opened in that time$/,
  });
  await first.release();
});

test("A caller that leaves does not end the dial that others wait for", async () => {
  const held = holdReplies();
  await using server = await startEchoServer(held);
  await using upstream = connectTo([server], { maxConnections: 1 });
  const leaving = new AbortController();
  const left = hold(upstream, leaving.signal);
  const stays = hold(upstream);
  await eventually(() => server.messages() === 1, "the dial has come to its first message");
  leaving.abort();
  await assert.rejects(left, { code: "CANCELED" });
  held.release();
  await (await stays).release();
  assert.equal(server.accepted(), 1);
});

test("A connection that nobody waited for any more is kept for the next caller", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server]);
  const leaving = new AbortController();
  const left = hold(upstream, leaving.signal);
  leaving.abort();
  await assert.rejects(left, { code: "CANCELED" });
  await eventually(() => upstream.counts().idle === 1, "the connection is idle");
  assert.equal(await send(upstream, 3), 3);
  assert.equal(server.accepted(), 1);
});

test("Before the first TLS material every caller is told that there is none", async () => {
  const upstream = createUpstream({
    servers: [parseKmipAddress("127.0.0.1:5696")],
    transport: echoTransport(),
    maxConnections: 1,
  });
  const call = upstream.call(
    { send: () => assert.fail("sent"), verdict: () => "fail" },
    { signal: within(1000) },
  );
  await assert.rejects(call, { code: "TLS_FILES" });
  await upstream.close();
});

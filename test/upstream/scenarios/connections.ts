/** Scenarios of one server: how many connections it gets, when they are replaced, and what is asked again on a new one. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { eventually } from "../../kmip/echo-server.ts";
import { only } from "./failover.ts";
import { startResumptionBreaker, type TestRequest } from "./server.ts";
import { type Subject, type TestClient, within } from "./subject.ts";

async function callAll(client: TestClient, count: number, ms = 3000): Promise<void> {
  await Promise.all(Array.from({ length: count }, () => client.call(within(ms))));
}

/** Callers that call again and again, with a pause after a failure, until `ms` are over; gives answers and failures. */
async function load(
  client: TestClient,
  callers: number,
  ms: number,
  pauseMs = 0,
): Promise<{ answeredAt: number[]; failures: unknown[] }> {
  const began = performance.now();
  const answeredAt: number[] = [];
  const failures: unknown[] = [];
  const caller = async (): Promise<void> => {
    while (performance.now() - began < ms)
      try {
        await client.call(within(3000));
        answeredAt.push(performance.now() - began);
        if (pauseMs > 0) await sleep(pauseMs);
      } catch (error) {
        failures.push(error);
        await sleep(100);
      }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return { answeredAt, failures };
}

/** Why connections were closed from here. */
function closedHere({ events }: TestClient, why: RegExp): string[] {
  return events.flatMap((event) =>
    event.type === "connection" && event.change === "closed" && why.test(event.message)
      ? [event.message]
      : [],
  );
}

/** The most connections there were at a time, in whatever state, as the client reports. */
function mostOf({ events }: TestClient): number {
  return Math.max(
    ...events.map((event) =>
      event.type === "connection" ? event.counts.idle + event.counts.busy + event.counts.connecting : 0,
    ),
  );
}

/** Sockets that the client has opened and not closed. */
function openOf({ events }: TestClient): number {
  const changes = events.flatMap((event) => (event.type === "connection" ? [event.change] : []));
  return (
    changes.filter((change) => change === "opened").length -
    changes.filter((change) => change === "closed").length
  );
}

/** One request after another, 100 ms each, those that nobody waits for any more included. */
async function overload(subject: Subject, callers: number, ms: number): Promise<number> {
  await using server = await subject.startServer();
  let free = 0;
  server.onRequest = (request) => {
    if (request.isFirst) return request.answer();
    free = Math.max(free, performance.now()) + 100;
    setTimeout(() => request.answer(), free - performance.now());
    return undefined;
  };
  await using client = await subject.connect([server.address], {
    maxConnections: subject.name === "KMIP" ? 8 : 32,
  });
  const { answeredAt } = await load(client, callers, ms);
  return answeredAt.filter((at) => at <= ms).length;
}

/** Calls on connections that are cut now and then, so that sessions are resumed. */
async function callAndCut(client: TestClient, cut?: () => void): Promise<void> {
  for (let nth = 0; nth < 12; nth += 1) {
    await client.call(within(3000));
    if (nth % 3 === 2) cut?.();
    await sleep(20);
  }
}

/** Declares the scenarios. */
export function connections(subject: Subject): void {
  describe(`${subject.name}: connections`, () => {
    test("to a server that ends each of them with its reply fail no call, and leave no socket", async () => {
      await using server = await subject.startServer();
      server.onRequest = (request) => (request.isFirst ? request.answer() : request.answerAndEnd());
      await using client = await subject.connect([server.address]);
      for (let round = 0; round < 10; round += 1) await callAll(client, 8);
      assert.ok(mostOf(client) <= 4, `${mostOf(client)} sockets at a time`);
      await client.close();
      // Node's own HTTP/2 server keeps a socket on which it has sent GOAWAY, though the client has closed it.
      assert.equal(openOf(client), 0, "sockets that are left");
    });

    test("are never more than the maximum, under 100 callers and while the server hangs", async () => {
      await using server = await subject.startServer();
      await using client = await subject.connect([server.address]);
      await callAll(client, 100);
      let hangs = true;
      server.onRequest = only((request) => {
        if (!hangs) request.answer();
      });
      const calls = Array.from({ length: 100 }, () => client.call(within(3000)));
      setTimeout(() => {
        hangs = false;
      }, 1500);
      const failed = (await Promise.allSettled(calls)).filter(({ status }) => status === "rejected").length;
      assert.ok(mostOf(client) <= 4, `the client had ${mostOf(client)}`);
      // The server may see the end of one after the beginning of the next.
      assert.ok(server.mostConnections() <= 4 + 2, `the server saw ${server.mostConnections()} at a time`);
      assert.equal(failed, 0, "calls that failed");
      await callAll(client, 8);
    });

    test("stay where one reply is late while others are answered", async () => {
      await using server = await subject.startServer();
      server.onRequest = only((request) => setTimeout(() => request.answer(), 10));
      await using client = await subject.connect([server.address], { maxConnections: 8 });
      await load(client, 24, 300);
      let isLate = true;
      server.onRequest = only((request) => {
        setTimeout(() => request.answer(), isLate ? 600 : 10);
        isLate = false;
      });
      const { failures } = await load(client, 7, 900);
      assert.deepEqual(failures, []);
      assert.ok(closedHere(client, /overdue/).length <= 1, closedHere(client, /overdue/).join("; "));
    });

    test("that reach their maximum age are replaced while they are idle, and no call fails", async () => {
      await using server = await subject.startServer();
      await using client = await subject.connect([server.address], { maxAgeMs: 200 });
      const { failures, answeredAt } = await load(client, 2, 1500, 10);
      assert.deepEqual(failures, []);
      assert.ok(answeredAt.length > 10, `${answeredAt.length} answers`);
      assert.ok(server.accepted() >= 3, `${server.accepted()} connections`);
      assert.ok(closedHere(client, /maximum age/).length >= 2);
    });
  });

  describe(`${subject.name}: connections that die young`, { concurrency: true }, () => {
    for (const end of ["close", "reset"] as const)
      test(`by a ${end} as soon as they are ready: handshakes do not grow with the callers`, async () => {
        const handshakes = await Promise.all(
          [1, 8, 24].map(async (callers) => {
            await using server = await subject.startServer();
            server.onRequest = (request) => {
              request.answer();
              if (request.isFirst) request[end]();
            };
            if (subject.name !== "KMIP") server.onConnection = (connection) => connection[end]();
            await using client = await subject.connect([server.address]);
            await Promise.allSettled(Array.from({ length: callers }, () => client.call(within(2000))));
            return server.accepted();
          }),
        );
        const [one = 0, eight = 0, many = 0] = handshakes;
        assert.ok(Math.max(eight, many) <= Math.max(2 * one, 20), `handshakes: ${handshakes.join(", ")}`);
        assert.ok(many <= 30, `handshakes: ${handshakes.join(", ")}`);
      });
  });

  describe(
    `${subject.name}: a refusal that may be about the connection is asked again on a new one`,
    { concurrency: true },
    () => {
      const refusals: readonly (readonly [
        string,
        (request: TestRequest) => boolean,
        "refuseConnection" | "refuseRights",
      ])[] =
        subject.name === "KMIP"
          ? [
              [
                "General Failure on connections older than 100 ms",
                ({ ageMs }) => ageMs > 100,
                "refuseConnection",
              ],
              ["Permission Denied on resumed sessions", ({ isResumed }) => isResumed, "refuseRights"],
            ]
          : [
              ["401 on resumed sessions", ({ isResumed }) => isResumed, "refuseConnection"],
              ["403 on resumed sessions", ({ isResumed }) => isResumed, "refuseRights"],
            ];
      for (const [what, applies, refuse] of refusals)
        test(`${what} fails no call`, async () => {
          await using server = await subject.startServer();
          let refused = 0;
          server.onRequest = only((request) => {
            if (!applies(request)) return request.answer();
            refused += 1;
            return request[refuse]();
          });
          await using client = await subject.connect([server.address]);
          await callAndCut(client, what.includes("resumed") ? server.cut : undefined);
          assert.ok(refused > 0, "it was refused");
          if (!what.includes("resumed")) return;
          assert.ok(refused <= 2, `${refused} refusals: sessions are not offered any more`);
        });

      test("the same refusal on the new connection is the answer, and costs no new connection each time", async () => {
        await using server = await subject.startServer();
        await using client = await subject.connect([server.address]);
        await client.call(within(3000));
        server.onRequest = only((request) => request.refuseRights());
        for (let nth = 0; nth < 6; nth += 1)
          await assert.rejects(client.call(within(3000)), (error: Error) =>
            /403|Permission Denied/.test(error.message),
          );
        assert.ok(server.accepted() <= 2, `${server.accepted()} connections`);
      });
    },
  );

  test(`${subject.name}: a server that aborts each handshake with a session costs one more dial, then gets none`, async () => {
    await using server = await subject.startServer();
    await using breaker = await startResumptionBreaker(server.port);
    await using client = await subject.connect([subject.addressOf(`127.0.0.1:${breaker.port}`)]);
    for (let nth = 0; nth < 6; nth += 1) {
      await client.call(within(3000));
      server.cut();
      await eventually(() => client.counts().idle === 0, "the connection is gone");
    }
    assert.ok(breaker.full() >= 6);
    assert.ok(breaker.offered() <= 1, `${breaker.offered()} sessions offered`);
  });

  describe(`${subject.name}: an overloaded server`, { concurrency: true }, () => {
    for (const callers of subject.overloads)
      test(`of 10 calls/s answers 9 of them, with ${callers} callers of 3 s`, async (t) => {
        let answered = await overload(subject, callers, 6000);
        t.diagnostic(`${answered} answers in 6 s`);
        // A machine that stands still for half a second loses as many calls as are allowed: then once more.
        if (answered < 54) answered = await overload(subject, callers, 6000);
        assert.ok(answered >= 54, `${answered} answers in 6 s`);
      });

    test("gets no more requests for being slow", async () => {
      const serviceMs = 50;
      const callers = 30;
      let free = 0;
      await using server = await subject.startServer();
      server.onRequest = (request) => {
        if (request.isFirst) return request.answer();
        free = Math.max(free, performance.now()) + serviceMs;
        setTimeout(() => request.answer(), free - performance.now());
        return undefined;
      };
      await using client = await subject.connect([server.address], { maxConnections: callers });
      await callAll(client, callers);
      // The three retries that there are at first, and those that replies have earned.
      assert.ok(
        server.requests() <= callers + 3 + callers / 10,
        `${server.requests()} requests of ${callers} callers`,
      );
    });
  });
}

/** Scenarios of a pair of servers: the first misbehaves in some way, and no call fails. */
import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { eventually } from "../../kmip/echo-server.ts";
import { startSilentServer } from "../../support/silent-server.ts";
import type { TestRequest, TestServer } from "./server.ts";
import { type ClientOptions, type Subject, type TestClient, within } from "./subject.ts";

type OnRequest = (request: TestRequest) => void;

/** Lets first requests through, and does this with the others. */
export function only(onRequest: OnRequest): OnRequest {
  return (request) => (request.isFirst ? request.answer() : onRequest(request));
}

/** What a first server does with requests that is no proper answer. */
const misbehaviours: readonly (readonly [string, OnRequest])[] = [
  ["answers nothing at all", () => {}],
  ["accepts connections and answers no request", only(() => {})],
  ["sends garbage", only((request) => request.garbage())],
  ["resets the connection at each request", only((request) => request.reset())],
  ["drips its reply, a byte each 100 ms", only((request) => request.drip())],
  ["sends early hints each 100 ms, and no reply", only((request) => request.hint())],
  ["refuses for its state", only((request) => request.refuseForState())],
];

/** Calls that must all succeed. */
async function callAll(client: TestClient, count: number, ms = 3000): Promise<void> {
  await Promise.all(Array.from({ length: count }, () => client.call(within(ms))));
}

/** What was reported last of a server. */
function lastOf(
  { events }: TestClient,
  { port }: { readonly port: number },
): [up: boolean, inUse: boolean] | undefined {
  const last = events.findLast((event) => event.type === "endpoint" && event.endpoint.endsWith(`:${port}`));
  return last?.type === "endpoint" ? [last.up, last.inUse] : undefined;
}

interface Pair {
  readonly first: TestServer;
  readonly second: TestServer;
  readonly client: TestClient;
}

/** Declares the scenarios. @param hangingName a name that DNS gives no answer for */
export function failover(subject: Subject, hangingName: string): void {
  /** Two servers and a client; all are closed with the test. */
  async function startPair(t: TestContext, options: ClientOptions = {}): Promise<Pair> {
    const [first, second] = await Promise.all([subject.startServer(), subject.startServer()]);
    const client = await subject.connect([first.address, second.address], options);
    t.after(async () => {
      await client.close();
      await eventually(() => first.connections() + second.connections() === 0, "every socket is closed");
      await Promise.all([first.close(), second.close()]);
    });
    return { first, second, client };
  }

  describe(
    `${subject.name}: with a healthy second server no call fails, and the first is left`,
    { concurrency: 4 },
    () => {
      for (const [what, onRequest] of misbehaviours)
        test(`where the first ${what}`, async (t) => {
          const { first, second, client } = await startPair(t, { checkMs: 60_000 });
          first.onRequest = onRequest;
          await callAll(client, 4);
          const before = first.requests();
          await callAll(client, 4);
          assert.equal(first.requests(), before, "the first gets no more requests");
          assert.ok(second.requests() >= 8);
          await eventually(() => lastOf(client, second)?.[1] === true, "the second is reported as active");
          assert.notEqual(lastOf(client, first)?.[0], true);
        });

      test("where the first misbehaves only after it has served", async (t) => {
        for (const [, onRequest] of misbehaviours.slice(1)) {
          const { first, second, client } = await startPair(t, { checkMs: 60_000 });
          await callAll(client, 4);
          first.onRequest = onRequest;
          await callAll(client, 4);
          await callAll(client, 4);
          assert.ok(second.requests() >= 4);
          assert.equal(lastOf(client, second)?.[1], true);
        }
      });

      const away: readonly (readonly [string, (t: TestContext) => Promise<string>])[] = [
        [
          "is down",
          async () => {
            const server = await subject.startServer();
            await server.close();
            return `127.0.0.1:${server.port}`;
          },
        ],
        ["hangs at DNS", async () => `${hangingName}:443`],
        ["hangs in TLS", async (t) => (await startSilentServer(t)).address],
      ];
      for (const [what, start] of away)
        test(`where the first ${what}`, async (t) => {
          await using second = await subject.startServer();
          const address = await start(t);
          await using client = await subject.connect([subject.addressOf(address), second.address], {
            checkMs: 60_000,
          });
          const began = performance.now();
          await client.call(within(3000));
          assert.ok(performance.now() - began < 2000, `${performance.now() - began} ms`);
          await callAll(client, 4);
          assert.equal(second.requests(), 5);
          assert.deepEqual(lastOf(client, second), [true, true]);
        });
    },
  );

  describe(`${subject.name}: the preferred server`, () => {
    test("alone is asked while it answers", async (t) => {
      const { second, client } = await startPair(t, { headStartMs: 2000 });
      await callAll(client, 20);
      assert.equal(second.accepted(), 0);
    });

    test("is returned to once it has recovered, without a call that fails", async (t) => {
      const { first, second, client } = await startPair(t, { checkMs: 50 });
      first.onRequest = only((request) => request.refuseForState());
      await callAll(client, 4);
      assert.ok(second.requests() > 0);
      const over = new AbortController();
      const load = Promise.all(
        [1, 2, 3].map(async () => {
          while (!over.signal.aborted) await client.call(within(3000));
        }),
      );
      await sleep(200);
      first.onRequest = (request) => request.answer();
      await eventually(() => lastOf(client, first)?.every(Boolean) === true, "the first is active");
      await eventually(() => second.connections() === 0, "nothing is left at the second");
      over.abort();
      await load;
    });

    test("that recovers from a silence of both alone answers the calls from before", async (t) => {
      const { first, second, client } = await startPair(t);
      await callAll(client, 4);
      for (const server of [first, second]) server.onRequest = only(() => {});
      const calls = callAll(client, 16);
      await sleep(800);
      first.onRequest = (request) => request.answer();
      await calls;
    });

    test("that becomes silent among its replies gets no request a second time", async (t) => {
      const { first, client } = await startPair(t, { maxConnections: 16 });
      await callAll(client, 16);
      first.onRequest = only((request) => setTimeout(() => request.answer(), 60));
      const answered = callAll(client, 8);
      await sleep(30);
      first.onRequest = only(() => {});
      const before = first.requests();
      const unanswered = callAll(client, 8);
      await Promise.all([answered, unanswered]);
      // Some may be: on a busy machine the second server is slow, too.
      const again = first.requests() - before - 8;
      assert.ok(again < 8, `${again} of 8`);
    });

    test("that flaps fails no call", async (t) => {
      const { first, client } = await startPair(t, { checkMs: 30 });
      const end = performance.now() + 1500;
      const flapping = (async () => {
        for (let nth = 0; performance.now() < end; nth += 1) {
          first.onRequest =
            nth % 2 === 0 ? only((request) => request.reset()) : (request) => request.answer();
          if (nth % 2 === 0) first.cut();
          await sleep(100);
        }
        first.onRequest = (request) => request.answer();
      })();
      let calls = 0;
      await Promise.all(
        [1, 2, 3, 4].map(async () => {
          for (; performance.now() < end; calls += 1) await client.call(within(3000));
        }),
      );
      await flapping;
      assert.ok(calls >= 10, `${calls} calls`);
    });

    test("that is always slow is not left for that", async (t) => {
      const { first, second, client } = await startPair(t);
      first.onRequest = only((request) => setTimeout(() => request.answer(), 400));
      for (let round = 0; round < 3; round += 1) await callAll(client, 4);
      assert.deepEqual(lastOf(client, first), [true, true]);
      assert.equal(second.requests(), 0);
    });
  });

  test(`${subject.name}: a standby that was down is known to be up again, though nobody needs it`, async (t) => {
    const { first, second, client } = await startPair(t, { checkMs: 50 });
    await callAll(client, 1);
    first.onRequest = (request) => request.reset();
    second.onRequest = (request) => request.reset();
    first.cut();
    await assert.rejects(client.call(within(600)));
    assert.equal(lastOf(client, second)?.[0], false);
    first.onRequest = (request) => request.answer();
    await client.call(within(3000));
    await eventually(() => lastOf(client, first)?.every(Boolean) === true, "the first is active");
    assert.equal(lastOf(client, second)?.[0], false);
    second.onRequest = (request) => request.answer();
    await eventually(() => lastOf(client, second)?.[0] === true, "the second is known to be up");
    assert.deepEqual(lastOf(client, second), [true, false]);
    await eventually(() => second.connections() === 0, "it was only checked");
  });
}

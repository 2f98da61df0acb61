/** The set of endpoints: their order, which one is active, what is reported of them, and when the preferred one is returned to. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ProviderError } from "../../src/errors.ts";
import type { MessageConnection } from "../../src/kmip/connection.ts";
import { parseKmipAddress, type ServerAddress } from "../../src/net/address.ts";
import { secureContextOf } from "../../src/net/tls.ts";
import { Endpoint, longestDialMs } from "../../src/upstream/endpoint.ts";
import { Endpoints } from "../../src/upstream/endpoints.ts";
import type { EndpointEvent } from "../../src/upstream/events.ts";
import { eventually, messageOf, startEchoServer } from "../kmip/echo-server.ts";
import { echoTransport, greet, material, type Prepare } from "./harness.ts";

type Server = Endpoint<ServerAddress, MessageConnection>;

interface Made {
  readonly all: readonly [Server, Server, Server];
  readonly endpoints: Endpoints<ServerAddress, MessageConnection>;
  readonly events: EndpointEvent[];
  order(): number[];
}

/** Three endpoints at these addresses. */
function make(
  t: TestContext,
  addresses: readonly string[],
  checkMs = 60_000,
  prepare: Prepare = greet,
): Made {
  const events: EndpointEvent[] = [];
  const transport = echoTransport(prepare);
  const all = addresses.map(
    (address) =>
      new Endpoint({
        address: parseKmipAddress(address),
        transport,
        limits: { maxConnections: 2 },
        checkMs,
        secureContext: () => secureContextOf(material),
        onOpened: () => undefined,
        onClosed: () => undefined,
        onDialFailed: () => undefined,
        onLearned: () => undefined,
      }),
  );
  const endpoints = new Endpoints({
    all,
    checkMs,
    check: transport.check,
    onChange: (event) => events.push(event),
  });
  t.after(async () => {
    endpoints.close();
    await Promise.all(all.map(({ pool }) => pool.close(new ProviderError("SHUTTING_DOWN", "the end"))));
  });
  return {
    all: all as unknown as Made["all"],
    endpoints,
    events,
    order: () => endpoints.inOrder().map((endpoint) => all.indexOf(endpoint)),
  };
}

const nowhere = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];

/** Moments are compared; two that follow each other must differ. */
function later(): number {
  const from = performance.now();
  while (performance.now() <= from);
  return performance.now();
}

test("The active endpoint comes first, those that failed last, the latest failure at the end", (t) => {
  const { all, endpoints, order } = make(t, nowhere);
  assert.deepEqual(order(), [0, 1, 2]);
  endpoints.reportDown(all[1], "no answer");
  assert.deepEqual(order(), [0, 2, 1]);
  later();
  endpoints.reportDown(all[0], "no answer");
  assert.equal(endpoints.active, all[2]);
  assert.deepEqual(order(), [2, 1, 0]);
});

test("One that is silent is tried before one that is down", (t) => {
  const { all, endpoints, order } = make(t, nowhere);
  endpoints.reportDown(all[1], "refused");
  later();
  endpoints.reportSilent(all[0], performance.now(), "no answer");
  assert.equal(all[0].health, "suspect");
  assert.deepEqual(order(), [2, 0, 1]);
});

test("One that has answered since the request was sent is not silent", (t) => {
  const { all, endpoints, order } = make(t, nowhere);
  endpoints.reportReply(all[0]);
  all[0].pool.lastReplyAt = later();
  endpoints.reportSilent(all[0], all[0].pool.lastReplyAt - 1, "no answer");
  assert.equal(all[0].health, "up");
  assert.deepEqual(order(), [0, 1, 2]);
  endpoints.reportSilent(all[0], later(), "no answer");
  assert.equal(all[0].health, "suspect");
  assert.deepEqual(order(), [1, 2, 0]);
});

test("A reply makes an endpoint healthy again; it becomes the active one only where that is not up", (t) => {
  const { all, endpoints } = make(t, nowhere);
  endpoints.reportDown(all[0], "no answer");
  assert.equal(endpoints.active, all[1]);
  endpoints.reportReply(all[1]);
  endpoints.reportReply(all[0]);
  assert.equal(all[0].health, "up");
  assert.equal(endpoints.active, all[1]);
  endpoints.reportDown(all[1], "no answer");
  assert.equal(endpoints.active, all[0]);
});

test("While all are away each is reported once, with its reason; the first that answers is the active one", (t) => {
  const { all, endpoints, events } = make(t, nowhere.slice(0, 2));
  for (let round = 0; round < 20; round += 1)
    endpoints.reportDown(endpoints.inOrder()[0] ?? all[0], `no answer, ${round}`);
  assert.deepEqual(
    events.map(({ endpoint, up, message }) => ({ endpoint, up, message })),
    [
      { endpoint: "127.0.0.1:1", up: false, message: "no answer, 0" },
      { endpoint: "127.0.0.1:2", up: false, message: "no answer, 1" },
    ],
  );
  endpoints.reportReply(all[0]);
  assert.equal(endpoints.active, all[0]);
  const { endpoint, up, inUse } = events.at(-1) ?? {};
  assert.deepEqual({ endpoint, up, inUse }, { endpoint: "127.0.0.1:1", up: true, inUse: true });
});

test("A single endpoint that is silent is reported, and stays the active one", (t) => {
  const { all, endpoints, events } = make(t, nowhere.slice(0, 1));
  endpoints.reportReply(all[0]);
  endpoints.reportSilent(all[0], later(), "no answer");
  assert.equal(endpoints.active, all[0]);
  assert.deepEqual(
    events.map(({ up }) => up),
    [true, false],
  );
});

test("An outage of all is one ejection, not one for each call that failed in it: the first is soon returned to", async (t) => {
  await using first = await startEchoServer();
  await using second = await startEchoServer();
  const { all, endpoints } = make(t, [first.address, second.address], 20);
  for (let round = 0; round < 20; round += 1)
    endpoints.reportDown(endpoints.inOrder()[0] ?? all[0], "no answer");
  endpoints.reportReply(all[1]);
  if (endpoints.active === all[0]) endpoints.reportDown(all[0], "no answer");
  assert.equal(endpoints.active, all[1]);
  const began = performance.now();
  await eventually(() => endpoints.active === all[0], "the first is returned to");
  // The longest ejection would be 12 times 20 ms.
  t.diagnostic(`returned to after ${Math.round(performance.now() - began)} ms`);
});

test("One that passes each health check and fails each time it is returned to, is returned to less and less", async (t) => {
  await using first = await startEchoServer();
  await using second = await startEchoServer();
  const { all, endpoints } = make(t, [first.address, second.address], 10);
  const began = performance.now();
  for (let returns = 0; returns < 5; returns += 1) {
    endpoints.reportDown(all[0], "does not answer");
    endpoints.reportReply(all[1]);
    await eventually(() => endpoints.active === all[0], "it is returned to");
  }
  // After 7.5, then at least 20, 40, 80 and 120 ms.
  const tookMs = performance.now() - began;
  assert.ok(tookMs >= 260, `${tookMs} ms`);
});

test("A standby that was down is known to be up again, by a connection that is closed then", async (t) => {
  await using first = await startEchoServer();
  await using second = await startEchoServer();
  const { all, endpoints, events } = make(t, [first.address, second.address], 10);
  endpoints.reportReply(all[0]);
  endpoints.reportDown(all[1], "no answer");
  await eventually(() => all[1].health === "up", "the health check has passed");
  assert.equal(endpoints.active, all[0]);
  assert.deepEqual(events.at(-1), {
    type: "endpoint",
    endpoint: second.address,
    up: true,
    inUse: false,
    message: `${second.address} answers again`,
  });
  await eventually(() => second.connections() === 0, "the connection is closed");
  const accepted = second.accepted();
  await sleep(60);
  assert.equal(second.accepted(), accepted, "one that is up is not checked");
});

test("The head start is twice the last dial, never less than usual, and bounded", async (t) => {
  let dialMs = 0;
  await using server = await startEchoServer();
  const { all } = make(t, [server.address], 60_000, async (connection, signal) => {
    await connection.exchange(messageOf(0)).reply;
    await sleep(dialMs, undefined, { signal });
  });
  const [{ pool }] = all;
  const dial = (): Promise<void> =>
    new Promise((resolve, reject) => {
      pool.drain("another dial is wanted");
      pool.wait({
        wanted: { since: performance.now(), isNew: true },
        onLease: (lease) => {
          lease.release(true);
          resolve();
        },
        onFailure: reject,
      });
    });
  assert.equal(all[0].headStartMs, 300);
  dialMs = 400;
  await dial();
  assert.ok(all[0].headStartMs >= 800 && all[0].headStartMs < 2 * longestDialMs, String(all[0].headStartMs));
  dialMs = longestDialMs + 100;
  await dial();
  assert.equal(all[0].headStartMs, 2 * longestDialMs);
  await server.close();
  await eventually(() => !pool.isConnected, "the connection is gone");
  await assert.rejects(dial(), { code: "CONNECT" });
  assert.equal(all[0].headStartMs, 300);
});

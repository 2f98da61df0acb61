/** A server that refuses with General Failure, and another that may know better. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  call,
  createKmipClient,
  type KmipClient,
  type KmipClientOptions,
  type CallContext,
  type KmsEvent,
  QueryFunction,
  queryOperation,
} from "../../src/kmip/index.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import { eventually } from "./echo-server.ts";
import { parseKmipAddress } from "../../src/net/address.ts";

const outOfOrder = { operation: "Query", reason: "GeneralFailure" } as const;

interface Pair {
  readonly first: DevKms;
  readonly second: DevKms;
  readonly client: KmipClient;
  readonly events: readonly KmsEvent[];
}

/** Two servers of one authority, and a client that prefers the first. */
async function startPair(t: TestContext, options: Partial<KmipClientOptions> = {}): Promise<Pair> {
  const first = await startDevKms({ rest: false });
  const second = await startDevKms({ rest: false, authority: first.authority });
  const events: KmsEvent[] = [];
  const client = createKmipClient({
    servers: [parseKmipAddress(first.kmipAddress), parseKmipAddress(second.kmipAddress)],
    checkMs: 50,
    onEvent: (event) => events.push(event),
    ...options,
  });
  client.setTlsMaterial(await loadTlsMaterial(first.clientFiles));
  t.after(async () => {
    await client.close();
    await eventually(() => first.connections() + second.connections() === 0, "every socket is closed");
    await Promise.all([first.close(), second.close()]);
  });
  return { first, second, client, events };
}

const within = (ms: number): CallContext => ({
  signal: AbortSignal.timeout(ms),
  deadline: performance.now() + ms,
});

const query = (client: KmipClient, context = within(5000)): Promise<unknown> =>
  client.send(
    () => ({
      calls: [call(queryOperation, { queryFunctions: [QueryFunction.QueryOperations] })],
      read: (reply) => reply.payload(0, queryOperation),
    }),
    context,
  );

const queries = (kms: DevKms): number => kms.kmipRequests()["Query"] ?? 0;

test("a first server that refuses all with General Failure is left for the second, by calls that do not fail", async (t) => {
  const { first, second, client, events } = await startPair(t);
  await Promise.all([query(client), query(client), query(client)]);
  assert.equal(second.connections(), 0);
  first.faults.refuse = outOfOrder;
  await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(() => query(client)));
  assert.ok(queries(second) > 0);
  const told = events.filter((event) => event.type === "endpoint" && !event.up);
  assert.match(
    told.map((event) => (event.type === "endpoint" ? event.message : "")).join(),
    new RegExp(`^Query refused .*General Failure.*: ${second.kmipAddress} can do it$`),
  );
});

test("it is returned to after a while, rests longer each time that it refuses again, and no call fails", async (t) => {
  const { first, client, events } = await startPair(t);
  first.faults.refuse = outOfOrder;
  const end = performance.now() + 1500;
  let calls = 0;
  for (; performance.now() < end; calls += 1) await query(client);
  const returns = events.filter(
    (event) => event.type === "endpoint" && event.endpoint === first.kmipAddress && event.up && event.inUse,
  ).length;
  // At 50 ms, and after rests of 100, 200, 400 and 600 ms.
  assert.ok(returns >= 2 && returns <= 7, `${returns} returns`);
  assert.ok(queries(first) <= 10, `${queries(first)} of ${calls} calls asked the first`);
  resetFaults(first.faults);
  const served = queries(first);
  const limit = performance.now() + 5000;
  while (queries(first) === served && performance.now() < limit) await query(client);
  assert.ok(queries(first) > served, "the first serves again");
});

test("what both refuse is told as that, moves nobody, and is not asked of both each time", async (t) => {
  const { first, second, client, events } = await startPair(t, { checkMs: 60_000 });
  await query(client);
  first.faults.refuse = outOfOrder;
  second.faults.refuse = outOfOrder;
  for (let index = 0; index < 5; index += 1)
    await assert.rejects(query(client), { code: "KMIP_RESULT", reason: "General Failure" });
  assert.equal(queries(second), 1);
  resetFaults(first.faults);
  await query(client);
  // The first call that is refused also tries a new connection; the later ones know that this is useless.
  assert.equal(queries(first), 8);
  assert.deepEqual(
    events.filter((event) => event.type === "endpoint" && !event.up),
    [],
  );
});

test("any other refusal is an answer, and nobody else is asked", async (t) => {
  const { first, second, client } = await startPair(t);
  first.faults.refuse = { operation: "Query", reason: "PermissionDenied" };
  await assert.rejects(query(client), { code: "KMIP_RESULT", reason: "Permission Denied" });
  assert.equal(second.connections() + queries(second), 0);
});

test("where there is no other server, or none that answers, the refusal is told", async (t) => {
  const { first, second, client } = await startPair(t);
  first.faults.refuse = outOfOrder;
  await second.stop();
  await assert.rejects(query(client), { code: "KMIP_RESULT", reason: "General Failure" });
  const alone = createKmipClient({ servers: [parseKmipAddress(first.kmipAddress)] });
  alone.setTlsMaterial(await loadTlsMaterial(first.clientFiles));
  await assert.rejects(query(alone), { code: "KMIP_RESULT", reason: "General Failure" });
  await alone.close();
});

test("where the other server hangs, the refusal is told as the caller's time ends", async (t) => {
  const { first, second, client } = await startPair(t);
  await query(client);
  first.faults.refuse = outOfOrder;
  second.faults.silent = true;
  const began = performance.now();
  await assert.rejects(query(client, within(1500)), { code: "KMIP_RESULT", reason: "General Failure" });
  assert.ok(performance.now() - began >= 290);
});

test("closing while another server is asked leaves no socket open", async (t) => {
  const { first, second, client } = await startPair(t);
  await query(client);
  first.faults.refuse = outOfOrder;
  second.faults.silent = true;
  const underWay = query(client).catch((error: unknown) => error);
  await eventually(() => second.connections() > 0, "the second is asked");
  await client.close();
  await underWay;
  assert.equal(first.connections() + second.connections(), 0);
});

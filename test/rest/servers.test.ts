/** What is told of servers while all of them are away, and how soon the preferred one is returned to after that. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { parseRestAddress } from "../../src/net/address.ts";
import { createServers, type ServerChange, type Servers } from "../../src/rest/servers.ts";

function startServers(t: TestContext, recallIntervalMs: number): { servers: Servers; told: ServerChange[] } {
  const told: ServerChange[] = [];
  const servers = createServers({
    urls: ["https://127.0.0.1:1", "https://127.0.0.1:2"].map((url) => parseRestAddress(url)),
    recallIntervalMs,
    isReachable: async () => true,
    onChange: (change) => told.push(change),
  });
  t.after(() => servers.close());
  return { servers, told };
}

test("while all are away each is told once, with its reason; who answers first is in use", (t) => {
  const { servers, told } = startServers(t, 60_000);
  for (let round = 0; round < 20; round += 1) servers.failed(servers.current(), `no answer, ${round}`);
  assert.deepEqual(told, [
    { endpoint: "127.0.0.1:1", up: false, inUse: true, message: "no answer, 0" },
    { endpoint: "127.0.0.1:2", up: false, inUse: true, message: "no answer, 1" },
  ]);
  const asked = servers.current();
  servers.answered(asked);
  assert.deepEqual(told.at(-1), { endpoint: asked.url.name, up: true, inUse: true });
});

test("an outage of all is no relapse of each call that failed in it: the first is soon returned to", async (t) => {
  const { servers } = startServers(t, 20);
  const [first, second] = servers.all;
  assert.ok(first !== undefined && second !== undefined);
  for (let round = 0; round < 20; round += 1) servers.failed(servers.current(), "no answer");
  servers.answered(second);
  if (servers.current() === first) servers.failed(first, "no answer");
  assert.equal(servers.current(), second);
  const limit = performance.now() + 5000;
  const began = performance.now();
  while (servers.current() !== first && performance.now() < limit)
    await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal(servers.current(), first);
  // The longest rest would be 12 times 20 ms, after which it would be tried at the next turn.
  t.diagnostic(`returned to after ${Math.round(performance.now() - began)} ms`);
});

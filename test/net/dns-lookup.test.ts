/** Name look-ups: those who ask the same at the same time share one answer, and nobody else gets it. */
import assert from "node:assert/strict";
import type { LookupAddress, LookupOptions } from "node:dns";
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { test } from "node:test";
import { createSharedLookup, lookupInTurn, sharedLookup } from "../../src/net/dns-lookup.ts";

type Ask = ReturnType<typeof createSharedLookup>;

/** A look-up that answers when it is told to. */
function held(): {
  ask: Ask;
  asked: string[];
  answer(error: NodeJS.ErrnoException | null, address: string): void;
} {
  const asked: string[] = [];
  const open: Parameters<Ask>[2][] = [];
  return {
    asked,
    ask: (hostname, _options, done) => {
      asked.push(hostname);
      open.push(done);
    },
    answer: (error, address) => {
      for (const done of open.splice(0)) done(error, address, 4);
    },
  };
}

function askFor(
  lookup: Ask,
  hostname: string,
  options: LookupOptions = {},
): Promise<string | LookupAddress[]> {
  return new Promise((resolve, reject) => {
    lookup(hostname, options, (error, address) => (error === null ? resolve(address) : reject(error)));
  });
}

test("Those who ask for one name at the same time share one look-up, and its answer", async () => {
  const { ask, asked, answer } = held();
  const lookup = createSharedLookup(ask);
  const answers = Promise.all([1, 2, 3].map(() => askFor(lookup, "kms.example.com")));
  assert.deepEqual(asked, ["kms.example.com"]);
  answer(null, "192.0.2.7");
  assert.deepEqual(await answers, ["192.0.2.7", "192.0.2.7", "192.0.2.7"]);
});

test("Another name, or another question for the same, is looked up by itself", async () => {
  const { ask, asked, answer } = held();
  const lookup = createSharedLookup(ask);
  const answers = Promise.all([
    askFor(lookup, "a.example.com"),
    askFor(lookup, "b.example.com"),
    askFor(lookup, "a.example.com", { all: true }),
    askFor(lookup, "a.example.com", { family: 6 }),
  ]);
  assert.equal(asked.length, 4);
  answer(null, "192.0.2.7");
  await answers;
});

test("An answer is not kept: who asks later, also within the answer, asks anew", async () => {
  const { ask, asked, answer } = held();
  const lookup = createSharedLookup(ask);
  let again: Promise<unknown> | undefined;
  lookup("kms.example.com", {}, () => {
    again = askFor(lookup, "kms.example.com");
  });
  answer(null, "192.0.2.7");
  assert.equal(asked.length, 2);
  answer(null, "192.0.2.8");
  assert.equal(await again, "192.0.2.8");
});

test("A failure is told to everybody who waits, and ends with that", async () => {
  const { ask, answer } = held();
  const lookup = createSharedLookup(ask);
  const failing = [1, 2].map(() => assert.rejects(askFor(lookup, "kms.example.com"), { code: "EAI_AGAIN" }));
  answer(Object.assign(new Error("no answer"), { code: "EAI_AGAIN" }), "");
  await Promise.all(failing);
  const next = askFor(lookup, "kms.example.com");
  answer(null, "192.0.2.7");
  assert.equal(await next, "192.0.2.7");
});

test("Node's sockets connect through it, several at a time", async (t) => {
  const server = net.createServer((socket) => socket.end());
  server.listen(0, "localhost");
  await once(server, "listening");
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  await Promise.all(
    [1, 2, 3].map(async () => {
      const socket = net.connect({ host: "localhost", port, lookup: sharedLookup });
      await once(socket, "connect");
      socket.destroy();
    }),
  );
});

const all = ["192.0.2.7", "192.0.2.8", "2001:db8::7"].map((address) => ({
  address,
  family: net.isIP(address),
}));
const several: Ask = (_name, _options, done) => done(null, all);
const single: Ask = (_name, _options, done) => done(null, "192.0.2.7", 4);
const failing: Ask = (_name, _options, done) => done(new Error("no answer"), "", 0);

const inTurn = (nth: number, ask: Ask): Promise<unknown> =>
  askFor(lookupInTurn(nth, ask), "kms.example.com", { all: true });

test("The addresses of a name come in turn, all of them each time; a single one, or a failure, as it is", async () => {
  const [a, b, c] = all;
  assert.deepEqual(await inTurn(0, several), [a, b, c]);
  assert.deepEqual(await inTurn(1, several), [b, c, a]);
  assert.deepEqual(await inTurn(5, several), [c, a, b]);
  assert.equal(await inTurn(1, single), "192.0.2.7");
  await assert.rejects(inTurn(1, failing), /no answer/);
});

/** Standings: what was seen of each server decides whom the next dial tries first, and how long alone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseEndpoint } from "../../src/kmip/endpoint.ts";
import { createStandings, longestDialMs } from "../../src/kmip/standings.ts";
import { eventually } from "./echo-server.ts";

const [a, b, c] = ["a", "b", "c"].map((name) => parseEndpoint(name)) as [
  ReturnType<typeof parseEndpoint>,
  ReturnType<typeof parseEndpoint>,
  ReturnType<typeof parseEndpoint>,
];
const make = (): ReturnType<typeof createStandings> => createStandings(300, 10);
/** Moments are compared; two that follow each other must differ. */
function later(): number {
  const from = performance.now();
  while (performance.now() <= from);
  return performance.now();
}

test("Servers in doubt are tried last, the latest doubt at the end", () => {
  const standings = make();
  assert.deepEqual(standings.inOrder([b, a, c]), [b, a, c]);
  standings.doubt(b, later());
  assert.deepEqual(standings.inOrder([b, a, c]), [a, c, b]);
  later();
  standings.doubt(a, later());
  assert.deepEqual(standings.inOrder([b, a, c]), [c, b, a]);
});

test("A server that has answered since the connection was opened is not in doubt", () => {
  const standings = make();
  const openedAt = later();
  later();
  standings.answered(a);
  standings.doubt(a, openedAt);
  assert.deepEqual(standings.inOrder([a, b]), [a, b]);
});

test("An answer, or a connection dialled after it, ends a doubt; one dialled before does not", () => {
  const standings = make();
  const before = later();
  later();
  standings.doubt(a, later());
  later();
  standings.ready(a, before);
  assert.deepEqual(standings.inOrder([a, b]), [b, a]);
  assert.equal(standings.isReadySince(a, before), false);
  standings.ready(a, later());
  assert.deepEqual(standings.inOrder([a, b]), [a, b]);
  assert.equal(standings.isReadySince(a, before), true);
  standings.doubt(a, later());
  standings.answered(a);
  assert.deepEqual(standings.inOrder([a, b]), [a, b]);
});

test("A server that fails its callers whenever it is returned to rests", async () => {
  const standings = make();
  for (let nth = 0; nth < 2; nth += 1) {
    assert.equal(standings.isResting(a), false);
    standings.doubt(a, later());
    standings.doubt(a, later());
    if (nth === 0) standings.ready(a, later());
  }
  assert.equal(standings.isResting(a), true);
  await eventually(() => !standings.isResting(a), "the rest ends");
});

test("The head start is twice the last dial, never less than usual, and bounded", () => {
  const standings = make();
  assert.equal(standings.headStartMs(a), 300);
  standings.ready(a, performance.now() - 10);
  assert.equal(standings.headStartMs(a), 300);
  standings.ready(a, performance.now() - 400);
  assert.ok(standings.headStartMs(a) >= 800 && standings.headStartMs(a) < 2 * longestDialMs);
  standings.ready(a, performance.now() - 60_000);
  assert.equal(standings.headStartMs(a), 2 * longestDialMs);
  standings.failed(a);
  assert.equal(standings.headStartMs(a), 300);
});

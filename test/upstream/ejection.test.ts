/** Relapses: a server that fails those who are handed to it is left alone for longer each time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRelapses } from "../../src/upstream/ejection.ts";
import { eventually } from "../kmip/echo-server.ts";

test("The first failure adds no rest, the next ones do, each a longer one, and every rest ends", async () => {
  const relapses = createRelapses(10);
  assert.equal(relapses.isResting(), false);
  relapses.note();
  assert.equal(relapses.isResting(), false);
  const rests: number[] = [];
  for (let nth = 0; nth < 3; nth += 1) {
    relapses.note();
    const from = performance.now();
    assert.equal(relapses.isResting(), true);
    await eventually(() => !relapses.isResting(), "the rest ends");
    rests.push(performance.now() - from);
  }
  const [first = 0, second = 0, third = 0] = rests;
  assert.ok(first >= 19 && second >= 39 && third >= 79, `rests of ${rests.join(", ")} ms`);
});

test("A failure long after the last one is a first one again", async () => {
  const relapses = createRelapses(1);
  relapses.note();
  relapses.note();
  assert.equal(relapses.isResting(), true);
  await new Promise((resolve) => setTimeout(resolve, 50));
  relapses.note();
  assert.equal(relapses.isResting(), false);
});

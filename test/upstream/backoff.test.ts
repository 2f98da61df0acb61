/** The back-off: doubles from its first pause to its longest, half of each left to chance. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { backoffMs, dialBackoff, jittered, replyBackoff } from "../../src/upstream/backoff.ts";

const rows = [
  ["a reply", replyBackoff, 1, 50, 100],
  ["a reply", replyBackoff, 2, 100, 200],
  ["a reply", replyBackoff, 4, 400, 800],
  ["a reply", replyBackoff, 5, 500, 1_000],
  ["a reply", replyBackoff, 40, 500, 1_000],
  ["a dial", dialBackoff, 1, 25, 50],
  ["a dial", dialBackoff, 3, 100, 200],
  ["a dial", dialBackoff, 40, 125, 250],
] as const;

for (const [after, limits, failures, least, most] of rows)
  test(`After ${failures} failures in a row, the last of ${after}, the pause is from ${least} to ${most} ms`, () => {
    const [shortest, longest] = [0, 1].map((random) => backoffMs(failures, limits, () => random));
    assert.deepEqual([shortest, longest], [least, most]);
  });

test("A jittered time is a quarter shorter to a quarter longer", () => {
  const times = Array.from({ length: 500 }, () => jittered(1000));
  assert.ok(Math.min(...times) >= 750 && Math.max(...times) <= 1250);
  assert.ok(Math.max(...times) - Math.min(...times) > 250, "they are spread out");
});

/** Second chances: a few at first, and then one for every ten replies. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createSecondChances, type SecondChances } from "../../src/upstream/retry-budget.ts";

function takeAll(chances: SecondChances): number {
  let taken = 0;
  while (chances.take()) taken += 1;
  return taken;
}

test("There are three at first, and none after", () => {
  const chances = createSecondChances();
  assert.equal(takeAll(chances), 3);
  assert.equal(chances.take(), false);
});

test("Ten replies earn one, and however many there are never more than three are kept", () => {
  const chances = createSecondChances();
  takeAll(chances);
  for (let reply = 0; reply < 9; reply += 1) chances.earn();
  assert.equal(chances.take(), false);
  chances.earn();
  chances.earn();
  assert.equal(takeAll(chances), 1);
  for (let reply = 0; reply < 1000; reply += 1) chances.earn();
  assert.equal(takeAll(chances), 3);
});

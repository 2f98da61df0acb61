/** The retry budget: a few at first, then one for every ten replies. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRetryBudget, type RetryBudget } from "../../src/upstream/retry-budget.ts";

function takeAll(budget: RetryBudget): number {
  let taken = 0;
  while (budget.take()) taken += 1;
  return taken;
}

test("There are three at first, and none after", () => {
  const budget = createRetryBudget();
  assert.equal(takeAll(budget), 3);
  assert.equal(budget.take(), false);
});

test("Ten replies earn one, and however many there are never more than three are kept", () => {
  const budget = createRetryBudget();
  takeAll(budget);
  for (let reply = 0; reply < 9; reply += 1) budget.earn();
  assert.equal(budget.take(), false);
  budget.earn();
  budget.earn();
  assert.equal(takeAll(budget), 1);
  for (let reply = 0; reply < 1000; reply += 1) budget.earn();
  assert.equal(takeAll(budget), 3);
});

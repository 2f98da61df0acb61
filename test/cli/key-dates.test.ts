/** The dates of a key as serve reports them: once for each step nearer, and as a metric. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { dateWarnings } from "../../src/cli/key-dates.ts";

const now = new Date("2027-01-01T00:00:00Z");
const inDays = (days: number, from = now): Date => new Date(from.getTime() + days * 86_400_000);

test("a date is warned of from 30 and from 7 days before, and when it has passed", () => {
  for (const [days, expected] of [
    [31, undefined],
    [30, "30 days"],
    [8, "30 days"],
    [7, "7 days"],
    [0.5, "7 days"],
    [0, "passed"],
    [-400, "passed"],
  ] as const)
    assert.equal(dateWarnings({ protectStop: inDays(days) }, now)[0]?.nearness, expected, `${days}`);
});

test("each date says what the KMS will refuse", () => {
  const said = dateWarnings(
    { protectStop: inDays(0.5), deactivation: inDays(1), processStart: inDays(2) },
    now,
  ).map(({ message }) => message);
  assert.deepEqual(said, [
    "the key's Protect Stop Date, 2027-01-01T12:00:00.000Z, is in less than a day: the KMS will refuse Encrypt from then on, and Decrypt will still work",
    "the key's Deactivation Date, 2027-01-02T00:00:00.000Z, is in 1 day: the KMS will deactivate the key then",
    "the key's Process Start Date, 2027-01-03T00:00:00.000Z, has not come: the KMS refuses Decrypt until then",
  ]);
});

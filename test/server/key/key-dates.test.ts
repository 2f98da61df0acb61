/** The dates of a key: what is said of each, once for each step nearer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KeyDateNearEvent, KeyDatesEvent } from "../../../src/server/key/key-dates.ts";
import { dateWarnings, KeyDatesWatch } from "../../../src/server/key/key-dates.ts";

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

function watch(): { readonly it: KeyDatesWatch; emitted(): readonly string[] } {
  const events: (KeyDatesEvent | KeyDateNearEvent)[] = [];
  return {
    it: new KeyDatesWatch((event) => events.push(event)),
    emitted: () =>
      events
        .splice(0)
        .map((event) =>
          event.type === "dates" ? "dates" : `${event.keyId} ${event.warning.name} ${event.warning.nearness}`,
        ),
  };
}

test("each warning is emitted once, and again when the date is nearer and when it has passed", () => {
  const { it, emitted } = watch();
  const key = { keyId: "a", dates: { deactivation: now } };
  for (const [days, expected] of [
    [40, ["dates"]],
    [29.9, ["a Deactivation Date 30 days"]],
    [29.8, []],
    [6.9, ["a Deactivation Date 7 days"]],
    [1, []],
    [-1, ["a Deactivation Date passed"]],
    [-2, []],
  ] as const) {
    it.note(key, inDays(-days));
    assert.deepEqual(emitted(), expected, `${days} days before`);
  }
});

test("another key or another date begins anew", () => {
  const { it, emitted } = watch();
  const [near, far] = [inDays(20), inDays(200)];
  it.note({ keyId: "a", dates: { deactivation: near, protectStop: near } }, now);
  assert.deepEqual(emitted(), ["dates", "a Protect Stop Date 30 days", "a Deactivation Date 30 days"]);
  it.note({ keyId: "b", dates: { deactivation: near } }, now);
  assert.deepEqual(emitted(), ["dates", "b Deactivation Date 30 days"]);
  it.note({ keyId: "b", dates: { deactivation: far } }, now);
  assert.deepEqual(emitted(), ["dates"]);
  it.note({ keyId: "b", dates: { deactivation: near } }, now);
  assert.deepEqual(emitted(), ["dates", "b Deactivation Date 30 days"]);
});

test("a key without dates is emitted once, so that those of an earlier key are forgotten", () => {
  const { it, emitted } = watch();
  it.note({ keyId: "a" }, now);
  it.note({ keyId: "a" }, now);
  assert.deepEqual(emitted(), ["dates"]);
});

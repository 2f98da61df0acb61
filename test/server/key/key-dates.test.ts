import assert from "node:assert/strict";
import { test } from "node:test";
import type { KeyDateNearEvent, KeyDatesEvent } from "../../../src/server/key/key-dates.ts";
import { KeyDatesWatch } from "../../../src/server/key/key-dates.ts";

const dayMs = 24 * 60 * 60_000;
const now = Date.parse("2026-06-01T00:00:00Z");

function watch(): { readonly it: KeyDatesWatch; told(): readonly string[] } {
  const events: (KeyDatesEvent | KeyDateNearEvent)[] = [];
  return {
    it: new KeyDatesWatch((event) => events.push(event)),
    told: () =>
      events
        .splice(0)
        .map((event) =>
          event.type === "dates" ? "dates" : `${event.keyId} ${event.date} ${event.daysLeft}`,
        ),
  };
}

test("a date is warned of once below 30 days and once below 7, at whatever probe that is", () => {
  const { it, told } = watch();
  const key = { keyId: "a", dates: { deactivation: new Date(now) } };
  for (const [days, expected] of [
    [40, ["dates"]],
    [30, []],
    [29.9, ["a deactivation 29"]],
    [29.8, []],
    [7, []],
    [6.9, ["a deactivation 6"]],
    [1, []],
    [-1, []],
  ] as const) {
    it.note(key, now - days * dayMs);
    assert.deepEqual(told(), expected, `${days} days before`);
  }
});

test("a date that is near at the start is warned of once, for the nearer reason", () => {
  const { it, told } = watch();
  it.note({ keyId: "a", dates: { protectStop: new Date(now + 2 * dayMs) } }, now);
  it.note({ keyId: "a", dates: { protectStop: new Date(now + 2 * dayMs) } }, now);
  assert.deepEqual(told(), ["dates", "a protectStop 2"]);
});

test("a date that has passed leaves no days", () => {
  const { it, told } = watch();
  it.note({ keyId: "a", dates: { protectStop: new Date(now - 2 * dayMs) } }, now);
  assert.deepEqual(told(), ["dates", "a protectStop 0"]);
});

test("each date has warnings of its own, and another key or another date begins anew", () => {
  const { it, told } = watch();
  const near = new Date(now + 20 * dayMs);
  const far = new Date(now + 200 * dayMs);
  it.note({ keyId: "a", dates: { deactivation: near, protectStop: near } }, now);
  assert.deepEqual(told(), ["dates", "a deactivation 20", "a protectStop 20"]);
  it.note({ keyId: "b", dates: { deactivation: near } }, now);
  assert.deepEqual(told(), ["dates", "b deactivation 20"]);
  it.note({ keyId: "b", dates: { deactivation: far } }, now);
  assert.deepEqual(told(), ["dates"]);
  it.note({ keyId: "b", dates: { deactivation: near } }, now);
  assert.deepEqual(told(), ["dates", "b deactivation 20"]);
  it.note({ keyId: "b" }, now);
  assert.deepEqual(told(), ["dates"]);
});

test("a key without dates is told of once, so that those of an earlier key are forgotten", () => {
  const { it, told } = watch();
  it.note({ keyId: "a" }, now);
  it.note({ keyId: "a" }, now);
  assert.deepEqual(told(), ["dates"]);
});

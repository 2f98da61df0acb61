/** What chaos judges by: it must find what is wrong, and excuse nothing that had to succeed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { createKeyIdCheck } from "./key-ids.ts";
import type { FailedCall, StatusSeen } from "./messages.ts";
import { createRandom } from "./random.ts";
import { compareResources } from "./resources.ts";
import { statusLimitMs, type StatusRule, wrongStatus } from "./status-rules.ts";
import { createTimeline } from "./timeline.ts";
import { graceMs } from "./world.ts";

const call = (startedAt: number, deadlineAt: number, code: Code = Code.Unavailable): FailedCall => ({
  type: "failed",
  method: "Encrypt",
  startedAt,
  endedAt: deadlineAt,
  deadlineAt,
  stalledMs: 0,
  code,
  message: "",
});

const paths = [
  { what: "nothing was wrong", dark: [], call: call(0, 3000), had: true },
  { what: "an outage was over 1 s before the deadline", dark: [[0, 1900]], call: call(0, 3000), had: true },
  {
    what: "an outage lasted until just before the deadline",
    dark: [[0, 2900]],
    call: call(0, 3000),
    had: false,
  },
  {
    what: "a machine that stood still for 600 ms left no piece of 2.2 s",
    dark: [[0, 1000]],
    call: { ...call(0, 3000), stalledMs: 600 },
    had: false,
  },
  { what: "an outage began late in the call", dark: [[1500, 9000]], call: call(0, 3000), had: true },
  {
    what: "two outages left no piece of a second",
    dark: [
      [0, 500],
      [1400, 2600],
    ],
    call: call(0, 3000),
    had: false,
  },
] as const;
for (const { what, dark, call: failed, had } of paths)
  test(`A call ${had ? "had" : "had not"} a healthy path where ${what}`, () => {
    let now = 0;
    const timeline = createTimeline(["A"], () => now);
    for (const [from, to] of dark) {
      now = from;
      const end = timeline.dark(["A"]);
      now = to;
      end();
    }
    assert.equal(timeline.hadPath(failed), had);
  });

test("Two paths that are healthy by turns make no healthy path, and one that stays makes one", () => {
  let now = 0;
  const timeline = createTimeline(["A", "B"], () => now);
  const endA = timeline.dark(["A"]);
  now = 700;
  endA();
  const endB = timeline.dark(["B"]);
  now = 1400;
  endB();
  assert.equal(timeline.hadPath(call(0, 1400)), false);
  assert.equal(timeline.hadPath(call(0, 1700)), true);
});

test("A refusal excuses the calls that overlap it and have its code, and no others", () => {
  let now = 1000;
  const timeline = createTimeline(["A"], () => now);
  const end = timeline.refusing([Code.PermissionDenied]);
  now = 2000;
  end();
  assert.equal(timeline.isRefused(call(900, 1100, Code.PermissionDenied)), true);
  assert.equal(timeline.isRefused(call(900, 1100, Code.Internal)), false);
  assert.equal(timeline.isRefused(call(2100, 2200, Code.PermissionDenied)), false);
});

const keys = { before: "old", now: "new" };
const status = (startedAt: number, said: Partial<StatusSeen>): StatusSeen => ({
  type: "status",
  startedAt,
  endedAt: startedAt + 1,
  ...said,
});
const old = { keyId: "old" };
const away = { keyId: "old", healthz: "the KMS cannot be reached" };
const denied = { code: Code.PermissionDenied };
const fails: StatusRule = { must: "fail", codes: [Code.PermissionDenied] };
const late = statusLimitMs + 1;
const statuses: readonly { what: string; rule: StatusRule; during: StatusSeen[]; isWrong: boolean }[] = [
  { what: "stays ok", rule: { must: "stay ok" }, during: [status(1, old), status(2, old)], isWrong: false },
  {
    what: "fails where it must stay ok",
    rule: { must: "stay ok" },
    during: [status(1, denied)],
    isWrong: true,
  },
  {
    what: "changes the key where it must stay",
    rule: { must: "stay ok" },
    during: [status(1, { keyId: "new" })],
    isWrong: true,
  },
  { what: "fails in time", rule: fails, during: [status(1, old), status(90, denied)], isWrong: false },
  {
    what: "fails too late",
    rule: fails,
    during: [status(late, old), status(late + 1, denied)],
    isWrong: true,
  },
  { what: "is ok again meanwhile", rule: fails, during: [status(1, denied), status(2, old)], isWrong: true },
  { what: "fails in another way", rule: fails, during: [status(1, { code: Code.Unknown })], isWrong: true },
  {
    what: "says what is wrong before the grace is over",
    rule: { must: "say what is wrong" },
    during: [status(100, { ...away, sinceGoodMs: graceMs - 100 })],
    isWrong: true,
  },
  {
    what: "says what is wrong without the last good probe",
    rule: { must: "say what is wrong" },
    during: [status(graceMs, away)],
    isWrong: true,
  },
  {
    what: "says what is wrong soon, of a fault that came long after the last good probe",
    rule: { must: "say what is wrong" },
    during: [status(50, old), status(100, { ...away, sinceGoodMs: graceMs })],
    isWrong: false,
  },
];
for (const { what, rule, during, isWrong } of statuses)
  test(`A Status that ${what} is ${isWrong ? "wrong" : "right"}`, () => {
    assert.equal(wrongStatus(rule, during, 0, keys) !== undefined, isWrong);
  });

test("An Encrypt may say the key_id of a Status around it, and no other", () => {
  const wrong: string[] = [];
  const check = createKeyIdCheck((what) => wrong.push(what));
  check.status({ startedAt: 0, endedAt: 1, keyId: "a" });
  check.encrypt({ startedAt: 2, endedAt: 3, keyId: "a" });
  check.encrypt({ startedAt: 2, endedAt: 3, keyId: "b" });
  check.status({ startedAt: 4, endedAt: 5, keyId: "b" });
  assert.deepEqual(wrong, []);
  check.encrypt({ startedAt: 6, endedAt: 7, keyId: "a" });
  check.status({ startedAt: 8, endedAt: 9, keyId: "b" });
  assert.equal(wrong.length, 1);
});

test("Memory and files that rise beyond the allowance are told each", () => {
  const before = { heapBytes: 10e6, residentBytes: 100e6, files: 50, connections: 8 };
  assert.deepEqual(compareResources(before, before), []);
  assert.equal(
    compareResources(before, { heapBytes: 20e6, residentBytes: 200e6, files: 90, connections: 90 }).length,
    4,
  );
});

test("A seed gives the same order again, and another seed another", () => {
  const list = Array.from({ length: 20 }, (_, index) => index);
  assert.deepEqual(createRandom(7).shuffled(list), createRandom(7).shuffled(list));
  assert.notDeepEqual(createRandom(7).shuffled(list), createRandom(8).shuffled(list));
});

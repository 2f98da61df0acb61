/** What a caller is told whose time is over, or who has left: a failure before the silence, a silence before its end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { abortError, createSetbacks } from "../../src/upstream/abort.ts";
import { NetworkError, ProviderError, TimeoutError } from "../../src/errors.ts";

const refused = new NetworkError("CONNECT", "nothing listens", { endpoint: "kms:1", sent: false });
const silent = new TimeoutError("connect", "kms:1 does not answer");
const over = new TimeoutError("response", "the time is over");

const abortions: readonly [
  what: string,
  reason: unknown,
  failure: ProviderError | undefined,
  told: object,
][] = [
  [
    "whose time ends is told TIMEOUT",
    over,
    undefined,
    { code: "TIMEOUT", message: "the time was over while dialling" },
  ],
  [
    "whose AbortSignal.timeout ends is told TIMEOUT",
    new DOMException("", "TimeoutError"),
    undefined,
    { code: "TIMEOUT" },
  ],
  ["whose time ends after a failure is told the failure", over, refused, refused],
  [
    "whose time ends after nothing but silence is told TIMEOUT, and who was silent",
    over,
    silent,
    {
      code: "TIMEOUT",
      phase: "retry",
      message: "the time was over while dialling: kms:1 does not answer",
      cause: silent,
    },
  ],
  [
    "who leaves is told CANCELED, whatever failed",
    new DOMException("", "AbortError"),
    refused,
    { code: "CANCELED" },
  ],
  [
    "who aborts with a reason of its own is told that, whatever failed",
    new ProviderError("SHUTTING_DOWN", "the end"),
    refused,
    { code: "SHUTTING_DOWN" },
  ],
];

for (const [what, reason, failure, told] of abortions)
  test(`A caller ${what}`, () => {
    const error = abortError(AbortSignal.abort(reason), "retry", "dialling", failure);
    assert.throws(() => {
      throw error;
    }, told);
  });

test("A call that failed for longer than it was then met with silence ends with the failure", async () => {
  const setbacks = createSetbacks();
  await sleep(30);
  setbacks.add(refused);
  assert.equal(setbacks.insteadOf(over), refused);
});

test("A call that was met with silence for longer than it failed before ends with TIMEOUT", async () => {
  const setbacks = createSetbacks();
  setbacks.add(refused);
  await sleep(30);
  assert.equal(setbacks.insteadOf(over), over);
});

test("A call that ends with anything but TIMEOUT, or without a setback, ends with that", async () => {
  const setbacks = createSetbacks();
  assert.equal(setbacks.insteadOf(over), over);
  await sleep(5);
  setbacks.add(refused);
  const denied = new ProviderError("KEY_ACCESS_DENIED", "denied");
  assert.equal(setbacks.insteadOf(denied), denied);
});

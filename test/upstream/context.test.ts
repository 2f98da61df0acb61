/** What a caller gets whose time is over, or who has left: a failure before the silence, a silence before its end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NetworkError, ProviderError, TimeoutError } from "../../src/errors.ts";
import { abortError } from "../../src/upstream/context.ts";

const refused = new NetworkError("CONNECT", "nothing listens", { endpoint: "kms:1", sent: false });
const silent = new TimeoutError("connect", "kms:1 does not answer");
const over = new TimeoutError("response", "the time is over");

const abortions: readonly [
  what: string,
  reason: unknown,
  failure: ProviderError | undefined,
  expected: object,
][] = [
  [
    "whose time ends gets TIMEOUT",
    over,
    undefined,
    { code: "TIMEOUT", message: "the time was over while dialling" },
  ],
  [
    "whose AbortSignal.timeout ends gets TIMEOUT",
    new DOMException("", "TimeoutError"),
    undefined,
    { code: "TIMEOUT" },
  ],
  ["whose time ends after a failure gets the failure", over, refused, refused],
  [
    "whose time ends after nothing but silence gets TIMEOUT, and who was silent",
    over,
    silent,
    {
      code: "TIMEOUT",
      phase: "connect",
      message: "the time was over while dialling: kms:1 does not answer",
      cause: silent,
    },
  ],
  [
    "who leaves gets CANCELED, whatever failed",
    new DOMException("", "AbortError"),
    refused,
    { code: "CANCELED" },
  ],
  [
    "who aborts with a reason of its own gets that, whatever failed",
    new ProviderError("SHUTTING_DOWN", "the end"),
    refused,
    { code: "SHUTTING_DOWN" },
  ],
];

for (const [what, reason, failure, expected] of abortions)
  test(`A caller ${what}`, () => {
    const error = abortError(AbortSignal.abort(reason), "connect", "dialling", failure);
    assert.throws(() => {
      throw error;
    }, expected);
  });

/** What an encryptor tells of its work: which line of the log, at which level, and that metrics hear all of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createKmsReporter } from "../../src/cli/serve/kms-events.ts";
import type { KmsEvent } from "../../src/encryptors/encryptor.ts";
import { createMemoryLogger } from "../server/harness.ts";

const endpoint = "kms.example:5696";
const counts = { idle: 1, busy: 2, connecting: 0 };

const lines: readonly (readonly [
  what: string,
  event: KmsEvent,
  level: string,
  message: string,
  fields: Record<string, unknown>,
])[] = [
  [
    "an exchange",
    {
      type: "exchange",
      operation: "Encrypt",
      endpoint,
      outcome: "ok",
      durationMs: 1.23456,
      requestBytes: 10,
      replyBytes: 20,
      uid: "u",
    },
    "debug",
    "exchange with the KMS",
    { operation: "Encrypt", outcome: "ok", ms: 1.23, endpoint, requestBytes: 10, replyBytes: 20, uid: "u" },
  ],
  [
    "an exchange that failed",
    {
      type: "exchange",
      operation: "decrypt",
      endpoint,
      outcome: "REST_STATUS",
      durationMs: 5,
      requestBytes: 10,
      replyBytes: 0,
      requestId: "r",
      message: "why",
    },
    "debug",
    "exchange with the KMS",
    { operation: "decrypt", outcome: "REST_STATUS", requestId: "r", reason: "why" },
  ],
  [
    "a connection",
    { type: "connection", change: "opened", endpoint, counts, message: "TLSv1.3, KMIP 1.4", durationMs: 3 },
    "debug",
    "connection opened",
    { endpoint, reason: "TLSv1.3, KMIP 1.4", ms: 3, idle: 1, busy: 2, connecting: 0 },
  ],
  [
    "a server that is lost",
    { type: "endpoint", endpoint, up: false, inUse: false, message: "nothing listens" },
    "warn",
    "the KMS can't be reached",
    { endpoint, reason: "nothing listens" },
  ],
  [
    "the server in use",
    { type: "endpoint", endpoint, up: true, inUse: true },
    "info",
    "the KMS is in use",
    { endpoint },
  ],
  [
    "a server in reserve",
    { type: "endpoint", endpoint, up: true, inUse: false },
    "info",
    "the KMS can be reached",
    { endpoint },
  ],
  [
    "a message",
    { type: "message", direction: "received", endpoint, dump: () => "words" },
    "trace",
    "message received",
    { endpoint, dump: "words" },
  ],
];
for (const [what, event, level, message, fields] of lines)
  test(`${what} is told at ${level}, and to the metrics`, () => {
    const logger = createMemoryLogger();
    const told: KmsEvent[] = [];
    createKmsReporter(logger, { kms: (one) => void told.push(one) })(event);
    assert.deepEqual(told, [event]);
    const [line] = logger.lines;
    assert.deepEqual([logger.lines.length, line?.level, line?.message], [1, level, message]);
    for (const [name, value] of Object.entries(fields)) assert.equal(line?.fields[name], value, name);
  });

test("a server that can be reached again has how long it could not", () => {
  const logger = createMemoryLogger();
  let at = 0;
  const report = createKmsReporter(logger, { kms: () => undefined }, () => at);
  report({ type: "endpoint", endpoint, up: false, inUse: false });
  at = 60_000;
  report({ type: "endpoint", endpoint, up: false, inUse: true });
  at = 90_000;
  report({ type: "endpoint", endpoint: "other.example:5696", up: true, inUse: true });
  report({ type: "endpoint", endpoint, up: true, inUse: true });
  report({ type: "endpoint", endpoint, up: true, inUse: true });
  assert.deepEqual(
    logger.lines.map(({ fields }) => fields["lasted"]),
    [undefined, undefined, undefined, "1 min 30 s", undefined],
  );
});

test("the dump of a message is not made where nobody reads it", () => {
  const logger = { ...createMemoryLogger(), enabled: () => false };
  const report = createKmsReporter(logger, { kms: () => undefined });
  report({ type: "message", direction: "sent", endpoint, dump: () => assert.fail("was made") });
  assert.equal(logger.lines.length, 0);
});

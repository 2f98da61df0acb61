/** What happens to the key, in the log and in the metrics, through a server with an encryptor of its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ProviderError, TimeoutError } from "../../../src/errors.ts";
import { KeyHealth } from "../../../src/server/key/key-health.ts";
import { createStatusReporter } from "../../../src/server/key/key-log.ts";
import { createMetrics } from "../../../src/metrics.ts";
import { createMemoryLogger, type LogLine, startServer } from "../harness.ts";

const dayMs = 24 * 60 * 60_000;
const isWarning = ({ message }: { message: string }): boolean =>
  message.startsWith("the key's Protect Stop Date, ");

test("a date of the key that is near is a warning, once, and a metric", async (t) => {
  const at = new Date(Date.now() + 6.5 * dayMs);
  const it = await startServer(t, {
    probeIntervalMs: 10,
    prepare: (encryptor) => (encryptor.dates = { protectStop: at }),
  });
  const line = await it.logger.waitFor(isWarning);
  assert.equal(line.level, "warn");
  assert.deepEqual([line.fields["date"], line.fields["id"]], [at.toISOString(), "key-1"]);
  const wanted = `okms_encryption_provider_key_date_timestamp_seconds{date="protect-stop"} ${at.getTime() / 1000}`;
  assert.ok((await it.metrics.render()).split("\n").includes(wanted));
  const { resolveKey } = it.encryptor.calls;
  while (it.encryptor.calls.resolveKey < resolveKey + 3) await new Promise(setImmediate);
  assert.equal(it.logger.lines.filter(isWarning).length, 1);
});

test("a key that must not be used for another reason than before has a line of its own", async (t) => {
  const it = await startServer(t, { probeIntervalMs: 10, deepProbeIntervalMs: 0 });
  await it.logger.waitFor(({ message }) => message === "the key is healthy");
  for (const code of ["KEY_NOT_ACTIVE", "KEY_ACCESS_DENIED"] as const) {
    it.encryptor.resolveError = new ProviderError(code, code);
    const line = await it.logger.waitFor(({ error }) => error === it.encryptor.resolveError);
    await it.logger.waitFor(
      ({ message, error }) => message.startsWith("the key must not") && error === line.error,
    );
    assert.match(await it.metrics.render(), new RegExp(`key_failure\\{code="${code}"\\} 1`));
  }
});

/** A reporter on a clock of its own, with the health that it reports on. */
function reported(): {
  readonly logger: ReturnType<typeof createMemoryLogger>;
  readonly health: KeyHealth;
  /** A probe that fails, so much later. */
  fail(error: ProviderError, afterMs: number): void;
  pass(afterMs: number): void;
} {
  const logger = createMemoryLogger();
  let at = 0;
  const report = createStatusReporter(logger, createMetrics({ version: "test", protocol: "kmip" }), () => at);
  const health = new KeyHealth(0, (from, now) => report({ type: "state", from, now }));
  const probe = { type: "probe", kind: "light", durationMs: 1 } as const;
  return {
    logger,
    health,
    fail(error, afterMs) {
      at += afterMs;
      health.fail({ error, kind: "transient", keyWorks: false });
      report({ ...probe, outcome: "transient", failure: error });
    },
    pass(afterMs) {
      at += afterMs;
      health.succeed({ keyId: "a", isDeep: true });
      report({ ...probe, outcome: "ok" });
    },
  };
}

test("the end of a failure has its code, and how long it lasted", () => {
  const { logger, fail, pass } = reported();
  const last = (): LogLine | undefined => logger.lines.findLast(({ level }) => level !== "debug");
  pass(0);
  assert.equal(last()?.fields["lasted"], undefined);
  fail(new TimeoutError("response", "no answer"), 1000);
  pass(200_000);
  const { message, fields } = last() ?? {};
  assert.equal(message, "the key is healthy");
  assert.deepEqual([fields?.["was"], fields?.["lasted"]], ["TIMEOUT", "3 min 20 s"]);
  fail(new TimeoutError("response", "no answer"), 1000);
  pass(2500);
  assert.equal(last()?.fields["lasted"], "2.5 s");
});

test("a failure that lasts is logged every 10 minutes, and when its code changes", () => {
  const { logger, fail } = reported();
  const shown = (): unknown[] =>
    logger.lines
      .filter(({ level }) => level === "error")
      .map(({ error, fields }) => [error instanceof ProviderError && error.code, fields["lasted"]]);
  for (let minute = 0; minute < 25; minute += 1) fail(new TimeoutError("response", "no answer"), 60_000);
  assert.deepEqual(shown(), [
    ["TIMEOUT", undefined],
    ["TIMEOUT", "10 min 0 s"],
    ["TIMEOUT", "20 min 0 s"],
  ]);
  fail(new ProviderError("TLS", "its certificate has expired"), 60_000);
  assert.deepEqual(shown().slice(3), [["TLS", "25 min 0 s"]]);
});

test("the grace period ends by itself: state, listener and Status change without a probe", async () => {
  const changes: string[] = [];
  const ended = Promise.withResolvers<void>();
  const health = new KeyHealth(30, (from, now) => {
    changes.push(`${from} → ${now.state}`);
    if (now.state === "transient") ended.resolve();
  });
  health.succeed({ keyId: "a", isDeep: true });
  health.fail({ error: new TimeoutError("response", "no answer"), kind: "transient", keyWorks: false });
  assert.equal(health.snapshot().healthz, "ok");
  await Promise.race([ended.promise, new Promise((resolve) => setTimeout(resolve, 5000))]);
  assert.deepEqual(changes, ["unknown → ok", "ok → grace", "grace → transient"]);
  assert.match(health.snapshot().healthz, /\[TIMEOUT\]; last good probe/);
});

test("a stopped health stays as it is", async () => {
  const health = new KeyHealth(10, () => {});
  health.succeed({ keyId: "a", isDeep: true });
  health.fail({ error: new TimeoutError("response", "no answer"), kind: "transient", keyWorks: false });
  health.stop();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(health.state, "grace");
});

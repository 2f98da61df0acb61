/** What happens to the key, in the log and in the metrics, through a server with an encryptor of its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ProviderError, TimeoutError } from "../../../src/errors.ts";
import { KeyHealth } from "../../../src/server/key/key-health.ts";
import { startServer } from "../harness.ts";

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

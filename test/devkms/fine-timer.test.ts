import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, test } from "node:test";
import { setFineTimer } from "./fine-timer.ts";

// Fine timers keep no process alive.
const alive = setInterval(() => undefined, 1000);
after(() => clearInterval(alive));

/** Resolves when a fine timer of `ms` has rung, after `onRing`. */
const ring = (ms: number, onRing: () => void): Promise<void> =>
  new Promise((resolve) => {
    setFineTimer(() => {
      onRing();
      resolve();
    }, ms);
  });

test("fine timers ring once each, in the order of their times, and none before its time", async () => {
  const rung: { readonly dueAt: number; readonly rungAt: number }[] = [];
  const ringing = [7.3, 0, 12.9, 0.2, 3.5, 3.5, 3.6, 21.1, 0.9].map((delayMs) => {
    // The first starts the thread: what is begun after it may be due behind it.
    const dueAt = performance.now() + delayMs;
    return ring(delayMs, () => rung.push({ dueAt, rungAt: performance.now() }));
  });
  await Promise.all(ringing);
  assert.equal(rung.length, ringing.length);
  assert.deepEqual(
    rung,
    rung.toSorted((a, b) => a.dueAt - b.dueAt),
  );
  for (const { dueAt, rungAt } of rung) assert.ok(rungAt >= dueAt, `${rungAt} for ${dueAt}`);
});

test("a fine timer begun while another is waited for, and due before it, does not wait for it", async () => {
  const rung: string[] = [];
  const late = ring(500, () => rung.push("late"));
  await ring(5, () => undefined);
  await ring(5, () => rung.push("early"));
  assert.deepEqual(rung, ["early"]);
  await late;
  assert.deepEqual(rung, ["early", "late"]);
});

test("a fine timer that was cancelled does not ring, and those beside it do", async () => {
  const rung: string[] = [];
  const cancelled = setFineTimer(() => rung.push("cancelled"), 5);
  const beside = ring(6, () => rung.push("beside"));
  cancelled.cancel();
  await beside;
  assert.deepEqual(rung, ["beside"]);
});

test("a fine timer keeps no process alive", () => {
  const script = `import { setFineTimer } from ${JSON.stringify(new URL("fine-timer.ts", import.meta.url).href)};
    setFineTimer(() => console.log("rung"), 30_000);`;
  const { status, stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    timeout: 20_000,
  });
  assert.deepEqual({ status, stdout }, { status: 0, stdout: "" });
});

/** Alarms share one timer: each rings at its own time, none that was cancelled, and none keeps a process that has ended its work. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { setAlarm } from "../../src/process/alarms.ts";

test("Alarms ring in the order of their times, whatever the order in which they were set", async () => {
  const rung: number[] = [];
  const { promise: last, resolve } = Promise.withResolvers<void>();
  const startedAt = performance.now();
  const ring = (ms: number) => (): void => {
    assert.ok(performance.now() - startedAt >= ms - 2, `${ms} rang early`);
    rung.push(ms);
    if (ms === 60) resolve();
  };
  for (const ms of [60, 20, 40]) setAlarm(ms, ring(ms));
  await last;
  assert.deepEqual(rung, [20, 40, 60]);
});

test("An alarm that was cancelled does not ring, not even by another one at the same time", async () => {
  const rung: string[] = [];
  const { promise: rang, resolve } = Promise.withResolvers<void>();
  setAlarm(10, () => rung.push("cancelled")).cancel();
  setAlarm(20, () => {
    rung.push("first");
    second.cancel();
  });
  const second = setAlarm(20, () => rung.push("second"));
  setAlarm(30, resolve);
  await rang;
  assert.deepEqual(rung, ["first"]);
});

test("An alarm that is set or cancelled by another one is heeded, and one without end never rings", async () => {
  const { promise: rang, resolve } = Promise.withResolvers<number>();
  const startedAt = performance.now();
  const never = setAlarm(Infinity, () => assert.fail("rang"));
  setAlarm(5, () => setAlarm(25, () => resolve(performance.now() - startedAt)));
  assert.ok((await rang) >= 28);
  never.cancel();
});

const url = JSON.stringify(new URL("../../src/process/alarms.ts", import.meta.url).href);

/** Runs a script with `setAlarm` in a process of its own; what it printed, and how long it ran in ms. */
async function run(script: string): Promise<{ printed: string; ms: number; code: number }> {
  const startedAt = performance.now();
  const source = `import { setAlarm } from ${url}; ${script}`;
  const ended = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", source]).then(
    ({ stdout }) => ({ printed: stdout, code: 0 }),
    (error: { stdout: string; code: number }) => ({ printed: error.stdout, code: error.code }),
  );
  return { ...ended, ms: performance.now() - startedAt };
}

test("A process waits for an alarm, and not for one that was cancelled", async () => {
  const waits = await run(`setAlarm(50, () => console.log("rang"));`);
  assert.deepEqual([waits.printed, waits.code], ["rang\n", 0]);
  const leaves = await run(`setAlarm(60_000, () => {}).cancel(); console.log("set");`);
  assert.deepEqual([leaves.printed, leaves.code], ["set\n", 0]);
  assert.ok(leaves.ms < 30_000);
  const again = await run(
    `setAlarm(80, () => {}).cancel(); setAlarm(90, () => console.log("rang")); setTimeout(() => {}, 1);`,
  );
  assert.equal(again.printed, "rang\n");
});

test("After a stall of the process what has come meanwhile is read before an alarm rings", async () => {
  const { printed } = await run(`
    import { createServer, connect } from "node:net";
    const server = createServer((socket) => socket.once("data", () => { console.log("read"); socket.destroy(); }));
    server.listen(0, () => {
      const client = connect(server.address().port);
      client.on("error", () => {});
      client.once("connect", () => setTimeout(() => setImmediate(() => {
        setAlarm(20, () => { console.log("rang"); server.close(); });
        client.write("x");
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
      }), 20));
    });`);
  assert.equal(printed, "read\nrang\n");
});

test("An alarm that throws does not keep the others from ringing", async () => {
  const { printed } = await run(
    `process.on("uncaughtException", (error) => console.log(error.message));
     setAlarm(20, () => { throw new Error("thrown"); }); setAlarm(20, () => console.log("rang"));`,
  );
  assert.equal(printed, "thrown\nrang\n");
  await sleep(0);
});

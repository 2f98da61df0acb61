/** The limits of memory: in a process of their own, for they hold for a whole process; and where memory cannot be read. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { limitMemory } from "../../src/process/memory.ts";

test("resident memory that cannot be read, for want of file descriptors, ends nothing", (t) => {
  t.mock.timers.enable({ apis: ["setInterval", "setTimeout"] });
  const rss = t.mock.method(process.memoryUsage, "rss", () => {
    throw Object.assign(new Error("EMFILE: too many open files, uv_resident_set_memory"), { code: "EMFILE" });
  });
  limitMemory();
  t.mock.timers.tick(12_000);
  assert.equal(rss.mock.callCount(), 2);
});

/** After the start: has it been collected, and how large is the young generation once many objects survived, in turns of the loop? */
const script = `
  const { limitMemory } = await import(process.argv[1]);
  const { getHeapSpaceStatistics } = await import("node:v8");
  const young = () => getHeapSpaceStatistics().find((space) => space.space_name === "new_space").space_size;
  let collections = 0;
  new PerformanceObserver((list) => {
    collections += list.getEntries().filter(({ detail }) => detail.kind === 4).length;
  }).observe({ entryTypes: ["gc"] });
  limitMemory();
  while (collections === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const kept = [];
  for (let turn = 0; turn < 400; turn += 1) {
    for (let index = 0; index < 2000; index += 1) kept.push({ index });
    await new Promise(setImmediate);
  }
  console.log(young());
`;

test("what the start left is collected, and the young generation stays small however much survives", async () => {
  const args = ["--input-type=module", "--eval", script, path.resolve("src/process/memory.ts")];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  // V8 may grow it once more before it is told to stop. Without a limit it would be 64 here.
  const mib = Number(stdout) / 2 ** 20;
  assert.ok(mib > 0 && mib <= 16, `${mib} MiB`);
});

/** Calls a function often, first at rest, then while objects come and go. */
const hotScript = `
  const { limitMemory } = await import(process.argv[1]);
  const { setTimeout: sleep, setImmediate } = await import("node:timers/promises");
  limitMemory();
  const hot = (count) => { let sum = 0; for (let index = 0; index < count; index += 1) sum += index % 7; return sum; };
  await sleep(1200);
  for (let turn = 0; turn < 20_000; turn += 1) hot(10);
  await sleep(100);
  console.log("load");
  for (let turn = 0; turn < 300; turn += 1) {
    for (let index = 0; index < 1000; index += 1) hot(10);
    Array.from({ length: 10_000 }, (_, index) => ({ index }));
    await setImmediate();
  }
`;

test("nothing is optimized at rest, and under load what is called often", async () => {
  const args = [
    "--trace-opt",
    "--input-type=module",
    "--eval",
    hotScript,
    path.resolve("src/process/memory.ts"),
  ];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 64 * 2 ** 20 });
  const [atRest = "", underLoad = ""] = stdout.split("\nload\n");
  const optimized = /completed optimizing .*JSFunction hot/;
  assert.doesNotMatch(atRest, optimized);
  assert.match(underLoad, optimized);
});

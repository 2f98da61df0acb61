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

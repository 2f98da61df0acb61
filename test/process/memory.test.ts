/** The watch of the resident memory, where that cannot be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
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

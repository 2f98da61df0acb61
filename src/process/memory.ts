/**
 * Keeps the resident memory small, however the program was started. V8 reads these flags each time that it decides, so
 * they count although it has begun. docs/design.md has the figures.
 */
// What the program stands on comes first: V8 takes Node.js' code cache only while no flag has changed, which saves 20 ms.
/* oxlint-disable import/no-unassigned-import */
import "node:crypto";
import "node:dns";
import "node:fs/promises";
import "node:http2";
import "node:https";
import "node:perf_hooks";
import "node:tls";
/* oxlint-enable import/no-unassigned-import */
import v8 from "node:v8";

/** Until then the start is over, in ms: the first probe of the key takes 20. */
const startMs = 1_000;
/** Resident memory from which size matters more than speed, in bytes: half more than at rest. */
const largeBytes = 100_000_000;
const checkIntervalMs = 5_000;

/**
 * To be called once, before what serves is loaded. Does not keep the process alive.
 *
 * - The young generation stays as it is now, 1 MiB, where V8 would let it grow to 16.
 * - The old generation is collected when it has grown by 15 %, where V8 would let it double and more.
 * - During the start nothing is optimized: what loads modules runs once, and the code of the two optimizing compilers
 *   would be 8 MiB of the memory of a process that then rests.
 * - While the resident memory is large V8 favours size over speed, which costs a tenth of CPU time: it collects sooner
 *   and gives pages back to the kernel when idle.
 */
export function limitMemory(): void {
  setFlags("--semi-space-growth-factor=1", "--heap-growing-percent=15", "--no-opt", "--no-maglev");
  setTimeout(() => {
    setFlags("--opt", "--maglev");
  }, startMs).unref();
  let favoursSize = false;
  setInterval(() => {
    const isLarge = isResidentLarge();
    if (isLarge === undefined || isLarge === favoursSize) return;
    favoursSize = isLarge;
    setFlags(isLarge ? "--optimize-for-size" : "--no-optimize-for-size");
  }, checkIntervalMs).unref();
}

/** Undefined where it cannot be read: that takes a file descriptor, of which none may be left. */
function isResidentLarge(): boolean | undefined {
  try {
    return process.memoryUsage.rss() > largeBytes;
  } catch {
    return undefined;
  }
}

function setFlags(...flags: readonly string[]): void {
  for (const flag of flags) v8.setFlagsFromString(flag);
}

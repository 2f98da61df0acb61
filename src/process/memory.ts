/**
 * Keeps the resident memory small, however the program was started. V8 reads these flags each time that it decides, so
 * they count although it has begun. docs/design.md has the figures.
 */
// What the program stands on comes first: V8 takes Node.js' code cache only while no flag has changed, which saves 20 ms.
/* oxlint-disable import/no-unassigned-import -- they are loaded here for when that is, not for use */
import "node:crypto";
import "node:dns";
import "node:fs/promises";
import "node:http2";
import "node:https";
import "node:tls";
/* oxlint-enable import/no-unassigned-import */
import { constants, type PerformanceEntry } from "node:perf_hooks";
import v8 from "node:v8";
import { runInNewContext } from "node:vm";

/** Until then the start is over, in ms: the first probe of the key takes 20. */
const startMs = 1_000;
/** Most of the young generation, both halves together, in bytes. */
const maxYoungBytes = 4 * 2 ** 20;
/** Resident memory from which size matters more than speed, in bytes: half more than at rest. */
const largeBytes = 100_000_000;
const checkIntervalMs = 5_000;
/** Collections of the young generation that follow so soon are those of a load; at rest minutes lie between them. */
const busyGapMs = 3_000;

/** A garbage collection, as Node.js reports it. */
type GcEntry = PerformanceEntry & { readonly detail: { readonly kind: number } };

/**
 * To be called once, before what serves is loaded. Does not keep the process alive.
 *
 * - The young generation stays at 4 MiB, where V8 would let it grow to 128. It is collected by one thread: for so little,
 *   several cost more than they save.
 * - The old generation is collected when it has grown by 15 %, where V8 would let it double and more.
 * - Until there is load nothing is optimized, for what loads modules runs once; and Maglev never compiles: its work leaves 10 MiB
 *   and more with the process. TurboFan takes its place, and compiles what was called 600 times instead of 3000.
 * - After the start its garbage is collected once. That takes 5 ms; without it V8 would not begin to give back what it has
 *   too much of, 3 MiB within ten seconds.
 * - While the resident memory is large V8 favours size over speed, which costs a tenth of CPU time: it collects sooner
 *   and gives pages back to the kernel when idle.
 */
export function limitMemory(): void {
  setFlags("--semi-space-growth-factor=1", "--no-parallel-scavenge", "--heap-growing-percent=15");
  setFlags("--no-opt", "--no-maglev", "--invocation-count-for-turbofan=600");
  setTimeout(() => {
    setFlags("--expose-gc");
    (runInNewContext("gc") as () => void)();
    limitYoungGeneration();
    optimizeWhenBusy();
  }, startMs).unref();
  let favoursSize = false;
  setInterval(() => {
    const isLarge = isResidentLarge();
    if (isLarge === undefined || isLarge === favoursSize) return;
    favoursSize = isLarge;
    setFlags(isLarge ? "--optimize-for-size" : "--no-optimize-for-size");
  }, checkIntervalMs).unref();
}

/** At rest nothing is worth it, and TurboFan's own code would become resident, 4.5 MiB of Node.js' executable. */
function optimizeWhenBusy(): void {
  let lastAt: number | undefined;
  const observer = new PerformanceObserver((list) => {
    for (const { startTime, detail } of list.getEntries() as GcEntry[]) {
      if (detail.kind !== constants.NODE_PERFORMANCE_GC_MINOR) continue;
      if (lastAt !== undefined && startTime - lastAt < busyGapMs) {
        setFlags("--opt");
        observer.disconnect();
      }
      lastAt = startTime;
    }
  });
  observer.observe({ entryTypes: ["gc"] });
}

/**
 * V8 takes a limit at its own start only, but asks for the factor of growth each time. After each collection it is decided
 * anew, for V8 also makes the young generation smaller while there is little to do.
 */
function limitYoungGeneration(): void {
  let mayGrow = false;
  new PerformanceObserver(() => {
    const young = v8.getHeapSpaceStatistics().find(({ space_name: name }) => name === "new_space");
    const isSmall = young !== undefined && 2 * young.space_size <= maxYoungBytes;
    if (isSmall === mayGrow) return;
    mayGrow = isSmall;
    setFlags(`--semi-space-growth-factor=${isSmall ? 2 : 1}`);
  }).observe({ entryTypes: ["gc"] });
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

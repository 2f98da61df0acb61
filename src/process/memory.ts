/** Keeps the resident memory small once a burst is over: V8 by itself holds the pages that a burst took for good. */
import v8 from "node:v8";

/** Resident memory from which size matters more than speed, in bytes: three quarters more than at rest. */
const largeBytes = 150_000_000;
const checkIntervalMs = 5_000;

/**
 * Checks the resident memory regularly. While it is large V8 favours size over speed, which costs a tenth of CPU time:
 * it collects sooner and gives pages back to the kernel when idle. Does not keep the process alive.
 */
export function limitResidentMemory(): void {
  let favoursSize = false;
  setInterval(() => {
    const isLarge = isResidentLarge();
    if (isLarge === undefined || isLarge === favoursSize) return;
    favoursSize = isLarge;
    v8.setFlagsFromString(isLarge ? "--optimize-for-size" : "--no-optimize-for-size");
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

/**
 * Memory and open files of the plugin, in a calm under load, and what counts as level: the heap after a forced
 * collection, the resident set with the reserves that V8 keeps once it has needed them, and the open files.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Plugin, Resources } from "./plugin.ts";

/** The resident set and the open files as medians. */
export interface Measured extends Resources {
  /** In use after a collection; with some dozen calls in flight. */
  readonly heapBytes: number;
}

/** Code compiled on the way, sessions, metrics of codes not seen before: a leak of 1 KiB a call would be 10 MiB a minute. */
const moreHeapBytes = 4 * 2 ** 20;
/** Not only V8's: the allocator's, and OpenSSL's. */
const moreResidentBytes = 64 * 2 ** 20;
/** Some of the callers' connections come and go. */
const moreFiles = 8;
const lookMs = 100;

/** Looks for `forMs`. */
export async function measureResources(plugin: Plugin, forMs: number): Promise<Measured> {
  const heapBytes = await plugin.heapBytes();
  const looks: Resources[] = [];
  for (let left = forMs; left > 0; left -= lookMs) {
    looks.push(plugin.resources());
    await sleep(lookMs);
  }
  return {
    heapBytes,
    residentBytes: median(looks.map((look) => look.residentBytes)),
    files: median(looks.map((look) => look.files)),
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** What is not level, in sentences. */
export function compareResources(before: Measured, after: Measured): string[] {
  const rises = [
    { what: "heap in use", rise: after.heapBytes - before.heapBytes, allowed: moreHeapBytes },
    { what: "resident set", rise: after.residentBytes - before.residentBytes, allowed: moreResidentBytes },
  ];
  const wrong = rises
    .filter(({ rise, allowed }) => !(rise <= allowed))
    .map(
      ({ what, rise, allowed }) =>
        `the ${what} rose by ${mebibytes(rise)} MiB; allowed: ${mebibytes(allowed)}`,
    );
  if (!(after.files <= before.files + moreFiles))
    wrong.push(`the open files went from ${before.files} to ${after.files}; allowed: ${moreFiles} more`);
  return wrong;
}

/** For people. */
export function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}

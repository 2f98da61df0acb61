/**
 * Memory and open files of the plugin, in a calm under load, and what counts as level: the heap after a forced
 * collection, the resident set with the reserves that V8 keeps once it has needed them, and the open files. Connections
 * to the KMS are counted apart from these: how many there are follows the load, and has a limit of its own.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Plugin, Resources } from "./plugin.ts";

/** The resident set and the open files as medians; without the connections to the KMS that the plugin knows of. */
export interface Measured extends Resources {
  /** Connections to the KMS, in any state. */
  readonly connections: number;
  /** In use after a collection; with some dozen calls in flight. */
  readonly heapBytes: number;
}

/** Code compiled on the way, sessions, metrics of codes not seen before: a leak of 1 KiB a call would be 10 MiB a minute. */
const moreHeapBytes = 4 * 2 ** 20;
/** Not only V8's: the allocator's, and OpenSSL's. */
const moreResidentBytes = 64 * 2 ** 20;
/** Some of the callers' connections come and go. */
const moreFiles = 8;
/** To each of the two KMS, new ones and those being retired: 8 over KMIP, 32 over REST. */
const mostConnections = 2 * 32;
const lookMs = 100;

/** Looks for `forMs`. */
export async function measureResources(plugin: Plugin, forMs: number): Promise<Measured> {
  const heapBytes = await plugin.heapBytes();
  const looks: (Resources & { connections: number })[] = [];
  for (let left = forMs; left > 0; left -= lookMs) {
    const { residentBytes, files } = plugin.resources();
    const connections = await plugin.metric("kms_connections");
    looks.push({ residentBytes, connections, files: files - connections });
    await sleep(lookMs);
  }
  return {
    heapBytes,
    residentBytes: median(looks.map((look) => look.residentBytes)),
    files: median(looks.map((look) => look.files)),
    connections: median(looks.map((look) => look.connections)),
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
  if (!(after.connections <= mostConnections))
    wrong.push(`${after.connections} connections to the KMS; allowed: ${mostConnections}`);
  return wrong;
}

/** For people. */
export function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}

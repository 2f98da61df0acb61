/** The KMIP pool at a round trip of 5 ms: what connections are worth, and that nobody queues needlessly. */
import path from "node:path";
import { seed } from "../support/caller.ts";
import { load, type LoadResult } from "./load.ts";
import { kmipFlags, startKms, startPlugin, type Kms } from "./processes.ts";
import { heading, loadCells, loadColumns, table, target } from "./report.ts";

const roundTripMs = 5;
/** Some 9 s after its start V8 tidies a process up (its MemoryReducer), once: percentiles are to be of days, not of that. */
const settleMs = 13_000;

/** Loads one plugin with each number of callers, Encrypt only: Decrypts of one seed would share exchanges. */
async function withConnections(
  kms: Kms,
  folder: string,
  connections: number | undefined,
  callerCounts: readonly number[],
): Promise<Map<number, LoadResult>> {
  const flags = connections === undefined ? [] : ["--kmip-connections", String(connections)];
  const sock = path.join(folder, `pool-${connections ?? "default"}.sock`);
  const plugin = await startPlugin(sock, [...kmipFlags(kms, roundTripMs), ...flags]);
  const results = new Map<number, LoadResult>();
  const plaintext = seed();
  await load(8, () => plugin.caller.encrypt(plaintext), { warmUpMs: settleMs, durationMs: 1 });
  for (const callers of callerCounts)
    results.set(callers, await load(callers, () => plugin.caller.encrypt(plaintext)));
  await plugin.caller.close();
  await plugin.stop();
  return results;
}

const rows = (name: string, results: Map<number, LoadResult>): string[][] =>
  [...results].map(([callers, result]) => [name, String(callers), ...loadCells(result)]);

/** Section `kmip`. */
export async function benchKmip(folder: string): Promise<void> {
  heading(`KMIP at a round trip of ${roundTripMs} ms, Encrypt`);
  const kms = await startKms([roundTripMs]);
  const one = await withConnections(kms, folder, 1, [1, 16]);
  const pool = await withConnections(kms, folder, undefined, [1, 8, 16, 128]);
  table(
    ["what", "callers", ...loadColumns],
    [...rows("one connection", one), ...rows("default pool (8)", pool)],
  );
  console.log();
  const base = one.get(16)?.perSecond ?? Number.NaN;
  const of = (callers: number): LoadResult | undefined => pool.get(callers);
  target("16 callers, throughput over one connection's", (of(16)?.perSecond ?? 0) / base, 7, "at least");
  target("128 callers, throughput over one connection's", (of(128)?.perSecond ?? 0) / base, 7.5, "at least");
  target("8 callers, p99 over p50", (of(8)?.p99 ?? Number.NaN) / (of(8)?.p50 ?? 1), 1.5, "at most");
  await kms.stop();
}

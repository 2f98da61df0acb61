/** REST with 1, 16 and 128 callers, at round trips of 0 and 5 ms, over HTTP/1.1 and HTTP/2. */
import path from "node:path";
import { seed } from "../support/caller.ts";
import { load, type LoadResult } from "./load.ts";
import { restFlags, startKms, startPlugin } from "./processes.ts";
import { heading, loadCells, loadColumns, table, target } from "./report.ts";

/** Section `rest`. */
export async function benchRest(folder: string): Promise<void> {
  heading("REST, Encrypt");
  const kms = await startKms([0, 5]);
  const lines: string[][] = [];
  const results = new Map<string, LoadResult>();
  for (const http of ["http1", "http2"] as const)
    for (const roundTripMs of [0, 5]) {
      const sock = path.join(folder, `rest-${http}-${roundTripMs}.sock`);
      const plugin = await startPlugin(sock, restFlags(kms, http, roundTripMs));
      const plaintext = seed();
      for (const callers of [1, 16, 128]) {
        const result = await load(callers, () => plugin.caller.encrypt(plaintext));
        results.set(`${http} ${roundTripMs} ${callers}`, result);
        const name = http === "http1" ? "HTTP/1.1" : "HTTP/2";
        lines.push([name, String(roundTripMs), String(callers), ...loadCells(result)]);
      }
      await plugin.caller.close();
      await plugin.stop();
    }
  table(["what", "round trip ms", "callers", ...loadColumns], lines);
  console.log();
  const perSecond = (callers: number): number => results.get(`http2 5 ${callers}`)?.perSecond ?? Number.NaN;
  target(
    "HTTP/2 at 5 ms: 16 callers, throughput over one caller's",
    perSecond(16) / perSecond(1),
    12,
    "at least",
  );
  target(
    "HTTP/2 at 5 ms: 128 callers, throughput over one caller's",
    perSecond(128) / perSecond(1),
    18,
    "at least",
  );
  await kms.stop();
}

/** Start-up and memory of the plugin from dist/. */
import path from "node:path";
import { seed } from "./caller.ts";
import { load } from "./load.ts";
import { kmipFlags, restFlags, startKms, startPlugin } from "./processes.ts";
import { heading, mib, table, target, whole } from "./report.ts";

const rounds = 5;
const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Section `process`. */
export async function benchProcess(folder: string): Promise<void> {
  heading(`Start-up (median of ${rounds}) and memory`);
  const kms = await startKms([]);
  const lines: string[][] = [];
  const protocols = { kmip: kmipFlags(kms, 0), rest: restFlags(kms, "http2", 0) };
  const results: { protocol: string; listening: number; rest: number }[] = [];
  for (const [protocol, flags] of Object.entries(protocols)) {
    const listening: number[] = [];
    const firstOk: number[] = [];
    const atRest: number[] = [];
    const after: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const plugin = await startPlugin(path.join(folder, `${protocol}-${round}.sock`), flags);
      listening.push(plugin.listeningMs);
      firstOk.push(plugin.firstOkMs);
      await new Promise((resolve) => setTimeout(resolve, 2000));
      atRest.push(plugin.residentBytes());
      const plaintext = seed();
      await load(16, () => plugin.caller.encrypt(plaintext), { durationMs: round === 0 ? 5000 : 1000 });
      after.push(plugin.residentBytes());
      await plugin.caller.close();
      await plugin.stop();
    }
    results.push({ protocol, listening: median(listening), rest: median(atRest) / 1024 / 1024 });
    lines.push([
      protocol,
      whole(median(listening)),
      whole(median(firstOk)),
      mib(median(atRest)),
      mib(after[0] ?? Number.NaN),
    ]);
  }
  table(["protocol", "listening ms", "first ok ms", "at rest MiB", "after 6 s of 16 callers MiB"], lines);
  console.log();
  for (const { protocol, listening, rest } of results) {
    target(`${protocol}: ms from start to listening`, listening, 200, "at most");
    target(`${protocol}: MiB resident at rest`, rest, 90, "at most");
  }
  await kms.stop();
}

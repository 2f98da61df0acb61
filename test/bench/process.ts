/** Start-up and memory of the plugin from dist/. */
import path from "node:path";
import { seed } from "../support/caller.ts";
import { load } from "./load.ts";
import { kmipFlags, restFlags, startKms, startPlugin } from "./processes.ts";
import { heading, mib, table, target, whole } from "./report.ts";

const rounds = 5;
const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

interface Start {
  readonly listeningMs: number;
  readonly firstOkMs: number;
  readonly atRestBytes: number;
  readonly afterLoadBytes: number;
}

/** One start, two seconds of rest, five seconds of 16 callers. */
async function startAndLoad(
  sock: string,
  flags: readonly string[],
  nodeFlags?: readonly string[],
): Promise<Start> {
  const plugin = await startPlugin(sock, flags, nodeFlags);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const atRestBytes = plugin.residentBytes();
  const plaintext = seed();
  await load(16, () => plugin.caller.encrypt(plaintext), { durationMs: 4000 });
  const afterLoadBytes = plugin.residentBytes();
  await plugin.caller.close();
  await plugin.stop();
  const { listeningMs, firstOkMs } = plugin;
  return { listeningMs, firstOkMs, atRestBytes, afterLoadBytes };
}

/** Section `process`. */
export async function benchProcess(folder: string): Promise<void> {
  heading(`Start-up (median of ${rounds}) and memory`);
  const kms = await startKms([]);
  const lines: string[][] = [];
  const kinds = [
    { name: "kmip, as the generated units start it", flags: kmipFlags(kms, 0) },
    { name: "rest, as the generated units start it", flags: restFlags(kms, "http2", 0) },
    { name: "kmip, with Node's defaults", flags: kmipFlags(kms, 0), nodeFlags: [] },
  ];
  const results: { name: string; listening: number; rest: number }[] = [];
  for (const { name, flags, nodeFlags } of kinds) {
    const starts: Start[] = [];
    for (let round = 0; round < rounds; round += 1)
      starts.push(await startAndLoad(path.join(folder, `start-${round}.sock`), flags, nodeFlags));
    const of = (figure: keyof Start): number => median(starts.map((start) => start[figure]));
    results.push({ name, listening: of("listeningMs"), rest: of("atRestBytes") / 1024 / 1024 });
    lines.push([
      name,
      whole(of("listeningMs")),
      whole(of("firstOkMs")),
      mib(of("atRestBytes")),
      mib(of("afterLoadBytes")),
    ]);
  }
  table(["protocol", "listening ms", "first ok ms", "at rest MiB", "after 16 callers MiB"], lines);
  console.log();
  for (const { name, listening, rest } of results) {
    target(`${name}: ms from start to listening`, listening, 200, "at most");
    target(`${name}: MiB resident at rest`, rest, 90, "at most");
  }
  await kms.stop();
}

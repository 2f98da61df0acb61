/** Runs the rounds of a probe, some at once, once or repeatedly, and prints what they add up to. */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { createPluginClient, type PluginClient } from "./client.ts";
import { runRound, type Round } from "./round.ts";
import { renderJson, renderLine, renderSummary, summarize } from "./summary.ts";

/** What `probe` is run with. */
export interface ProbeOptions {
  /** Path, `@name`, or `unix://…`. */
  readonly sock: string;
  readonly count: number;
  readonly concurrency: number;
  /** Of each call. */
  readonly timeoutMs: number;
  /** Between the end of a run and the start of the next. */
  readonly intervalMs: number;
  readonly isWatch: boolean;
  readonly isJson: boolean;
}

/** Probes the plugin. @returns the exit code: 0 where every round of every run succeeded, else 1 */
export async function runProbe(options: ProbeOptions, stdout: NodeJS.WritableStream): Promise<number> {
  const client = createPluginClient(options.sock, options.timeoutMs);
  try {
    await client.connect();
    if (options.isWatch) return await watch(client, options, stdout);
    const summary = summarize(await runRounds(client, options));
    stdout.write(options.isJson ? renderJson(summary, new Date()) : renderSummary(summary));
    return summary.ok ? 0 : 1;
  } finally {
    client.close();
  }
}

async function runRounds(client: PluginClient, { count, concurrency }: ProbeOptions): Promise<Round[]> {
  const rounds: Round[] = [];
  let begun = 0;
  async function work(): Promise<void> {
    while (begun < count) {
      begun += 1;
      rounds.push(await runRound(client));
    }
  }
  await Promise.all(Array.from({ length: Math.min(count, concurrency) }, work));
  return rounds;
}

/** Runs until SIGINT or SIGTERM. */
async function watch(
  client: PluginClient,
  options: ProbeOptions,
  stdout: NodeJS.WritableStream,
): Promise<number> {
  const interrupt = new AbortController();
  const interrupted = once(interrupt.signal, "abort").then(() => undefined);
  const onSignal = (): void => {
    interrupt.abort();
  };
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  let hasPassed = true;
  while (!interrupt.signal.aborted) {
    const rounds = await Promise.race([runRounds(client, options), interrupted]);
    if (rounds === undefined) break;
    const summary = summarize(rounds);
    hasPassed &&= summary.ok;
    const now = new Date();
    stdout.write(options.isJson ? renderJson(summary, now) : renderLine(summary, now));
    await sleep(options.intervalMs, undefined, { signal: interrupt.signal }).catch(() => undefined);
  }
  process.off("SIGINT", onSignal);
  process.off("SIGTERM", onSignal);
  return hasPassed ? 0 : 1;
}

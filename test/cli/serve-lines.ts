/**
 * A process that runs `serve` for one command line after another, as main.ts does, and ends each as SIGTERM would, soon
 * after it began. A process of its own: serve takes over the signals and the failures that nobody caught. Talks by IPC:
 * {@link ServeLine} in, {@link ServeEnded} out.
 */
import { runCli } from "../../src/cli/index.ts";
import { createCollector } from "../support/collector.ts";

/** A command line, and how long after it listens for SIGTERM it gets that, in ms. */
export interface ServeLine {
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly endAfterMs: number;
}

/** What it came to. */
export interface ServeEnded {
  readonly code: number;
  /** Both streams. */
  readonly text: string;
  /** Whether it served: its command line was right. */
  readonly hasServed: boolean;
}

async function run({ argv, env, endAfterMs }: ServeLine): Promise<ServeEnded> {
  const { stream, text } = createCollector();
  let hasServed = false;
  let timer: NodeJS.Timeout | undefined;
  const onListener = (name: string | symbol): void => {
    if (name !== "SIGTERM" || hasServed) return;
    hasServed = true;
    timer = setTimeout(() => process.emit("SIGTERM", "SIGTERM"), endAfterMs);
  };
  process.on("newListener", onListener);
  const code = await runCli(["serve", ...argv], { env, stdout: stream, stderr: stream });
  process.off("newListener", onListener);
  // It may have ended by itself: a second signal would end the process at once.
  clearTimeout(timer);
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "uncaughtException", "warning"] as const)
    process.removeAllListeners(name);
  return { code, text: text(), hasServed };
}

process.on("message", async (line: ServeLine) => {
  process.send?.(await run(line));
});

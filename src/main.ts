/** The executable: hands argv to the CLI, and ends when what it printed is written. The build puts the check of Node's version before it. */
// oxlint-disable-next-line import/no-unassigned-import -- what it does must come first
import "./process/early-signals.ts";
import { setTimeout as sleep } from "node:timers/promises";
import { versionAnswer } from "./cli/version-answer.ts";
import { endProcess } from "./process/end-process.ts";

const maxFlushMs = 500;

// Node's own name for it is MainThread. The arguments stay, for those who read ps.
process.title = ["okms-k8s-encryption-provider", ...process.argv.slice(2)].join(" ");

// Not top-level await: the built file is CommonJS, so that any Node.js can read it as far as the check of its version.
void main();

async function main(): Promise<void> {
  const code = await run(process.argv.slice(2));
  await Promise.race([Promise.all([process.stdout, process.stderr].map(written)), sleep(maxFlushMs)]);
  // Not by waiting for Node to run out of work: Node 24 has been seen to spin in its own clean-up.
  await endProcess(code);
}

/** The commands, and what they stand on, are loaded only where one is asked for. */
async function run(argv: readonly string[]): Promise<number> {
  const versionText = versionAnswer(argv);
  if (versionText === undefined) {
    const { runCli } = await import("./cli/index.ts");
    return runCli(argv, process);
  }
  process.stdout.on("error", () => undefined);
  process.stdout.write(versionText);
  return 0;
}

/** A pipe that is full takes the rest when its reader reads. */
async function written(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength > 0) await new Promise((resolve) => stream.write("", resolve));
}

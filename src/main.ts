/** The executable: hands argv to the CLI, and ends when what it printed is written. The build puts the check of Node's version before it. */
// oxlint-disable-next-line import/no-unassigned-import -- what it does must come first
import "./process/early-signals.ts";
import { setTimeout as sleep } from "node:timers/promises";
import { runCli } from "./cli/index.ts";
import { endProcess } from "./process/end-process.ts";

const maxFlushMs = 500;

// Node's own name for it is MainThread. The arguments stay, for those who read ps.
process.title = ["okms-k8s-encryption-provider", ...process.argv.slice(2)].join(" ");

// Not top-level await: the built file is CommonJS, so that any Node.js can read it as far as the check of its version.
void main();

async function main(): Promise<void> {
  const code = await runCli(process.argv.slice(2), process);
  await Promise.race([Promise.all([process.stdout, process.stderr].map(written)), sleep(maxFlushMs)]);
  // Not by waiting for Node to run out of work: Node 24 has been seen to spin in its own clean-up.
  await endProcess(code);
}

/** A pipe that is full takes the rest when its reader reads. */
async function written(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength > 0) await new Promise((resolve) => stream.write("", resolve));
}

/** The executable: hands argv to the CLI, nothing else. */
import { runCli } from "./cli/index.ts";

const oldestNode = 24;

if (Number.parseInt(process.versions.node, 10) < oldestNode) {
  process.stderr.write(
    `This needs Node.js ${oldestNode} or later, and ${process.execPath} is ${process.version}\n`,
  );
  process.exitCode = 2;
} else {
  // Not by waiting for Node to run out of work: a file system that hangs would keep it for ever, and Node 24 has
  // been seen to spin in its own clean-up. What was written is out by now: pipes are synchronous on Linux.
  process.exit(await runCli(process.argv.slice(2), process));
}

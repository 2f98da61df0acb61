/** The executable: hands argv to the CLI, nothing else. */
import { runCli } from "./cli/index.ts";

const oldestNode = 24;

if (Number.parseInt(process.versions.node, 10) < oldestNode) {
  process.stderr.write(
    `This needs Node.js ${oldestNode} or later, and ${process.execPath} is ${process.version}\n`,
  );
  process.exitCode = 2;
} else process.exitCode = await runCli(process.argv.slice(2), process);

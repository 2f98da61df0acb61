/** The executable: hands argv to the CLI, nothing else. */
import { runCli } from "./cli/index.ts";

process.exitCode = await runCli(process.argv.slice(2), process);

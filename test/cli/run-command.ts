/** Runs a command of the CLI in this process, as cli/index.ts does, with its output kept. */
import { readArgv } from "../../src/cli/argv.ts";
import { runCliCommand } from "../../src/cli/command.ts";
import type { CliCommand } from "../../src/cli/command.ts";
import { createCollector } from "../support/collector.ts";

/** What a command came to. It throws ConfigError where the command line is wrong, as it does for cli/index.ts. */
export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `command` with `argv`; its environment is `env` alone. */
export async function runCommand(
  command: CliCommand,
  argv: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Ran> {
  const stdout = createCollector();
  const stderr = createCollector();
  const io = { env, stdout: stdout.stream, stderr: stderr.stream };
  const code = await runCliCommand(command, io, readArgv(argv, command.flags, command.words.length));
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}

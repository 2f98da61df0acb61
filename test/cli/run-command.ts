/** Runs a command of the CLI in this process, as cli/index.ts does, with its output kept. */
import { Writable } from "node:stream";
import { readArgv } from "../../src/cli/argv.ts";
import { runCliCommand } from "../../src/cli/command.ts";
import type { CliCommand } from "../../src/cli/command.ts";

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
  const stdout = collector();
  const stderr = collector();
  const io = { env, stdout: stdout.stream, stderr: stderr.stream };
  const code = await runCliCommand(command, io, readArgv(argv, command.flags, command.words.length));
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}

function collector(): { readonly stream: Writable; readonly text: () => string } {
  const chunks: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(String(chunk));
      done();
    },
  });
  return { stream, text: () => chunks.join("") };
}

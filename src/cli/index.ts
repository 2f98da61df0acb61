/**
 * The command line: finds the command (serve where none is named), answers --help and --version, hands the
 * rest to it, and turns its end into an exit code: 0 as asked, 1 failed, 2 the command line is wrong.
 */
import { ProviderError } from "../errors.ts";
import { ConfigError } from "../config/settings.ts";
import { quote } from "../text/quote.ts";
import { asksFor, readArgv } from "./argv.ts";
import { auditCommand } from "./audit.ts";
import { checkCommand } from "./check.ts";
import { runCliCommand, type CliCommand, type CommandIo } from "./command.ts";
import { configCommand } from "./config.ts";
import { programName, renderHelp } from "./help.ts";
import { initCommand } from "./init.ts";
import { nearest } from "./nearest.ts";
import { probeCommand } from "./probe.ts";
import { recoverCommand } from "./recover.ts";
import { reencryptCommand } from "./reencrypt.ts";
import { serveCommand } from "./serve.ts";
import { versionAnswer } from "./version-answer.ts";

const others = [
  initCommand,
  checkCommand,
  probeCommand,
  configCommand,
  reencryptCommand,
  auditCommand,
  recoverCommand,
];
/** Every command; the first is the one that runs where none is named. */
export const allCommands: readonly CliCommand[] = [serveCommand, ...others];
const commands: ReadonlyMap<string, CliCommand> = new Map(
  allCommands.map((command) => [command.name, command]),
);

/**
 * Runs the program.
 * @param argv arguments after the executable's name
 * @returns the exit code
 */
export async function runCli(argv: readonly string[], io: CommandIo): Promise<number> {
  if (argv.length === 0) return print(io.stderr, programHelp(), 0);

  const [word = ""] = argv;
  if (word === "help") return runCli([...argv.slice(1), "--help"], io);
  const named = commands.get(word);
  const rest = named === undefined ? argv : argv.slice(1);
  if (asksFor(rest, "help", "h"))
    return print(io.stdout, named === undefined ? programHelp() : renderHelp(named), 0);
  const versionText = versionAnswer(rest);
  if (versionText !== undefined) return print(io.stdout, versionText, 0);

  if (named === undefined && !word.startsWith("-")) {
    // What comes after it is for a command that does not exist: nothing can be checked of that.
    return print(io.stderr, `${unknownCommand(word)}\nSee ${programName} --help\n`, 2);
  }
  const command = named ?? serveCommand;
  if (command !== serveCommand) endWithReader(io.stdout);
  const { args, complaints } = readArgv(rest, command.flags, command.words.length);
  try {
    return await runCliCommand(command, io, { args, complaints });
  } catch (error) {
    const wrong = complaintsOf(error);
    if (wrong === undefined) throw error;
    const help = `${programName}${named === undefined ? "" : ` ${named.name}`} --help`;
    return print(io.stderr, `${wrong.join("\n")}\nSee ${help}\n`, 2);
  }
}

function programHelp(): string {
  return renderHelp(serveCommand, others);
}

/** What is wrong with the command line; undefined where the error is of another kind. */
function complaintsOf(error: unknown): readonly string[] | undefined {
  if (error instanceof ConfigError) return error.complaints;
  return error instanceof ProviderError && error.code === "CONFIG" ? [error.message] : undefined;
}

function print(stream: NodeJS.WritableStream, text: string, code: number): number {
  stream.on("error", () => undefined);
  stream.write(text);
  return code;
}

/** Nobody reads on (`… | head -1`): no failure that is worth a stack, and the end even of `probe --watch`. */
function endWithReader(stdout: NodeJS.WritableStream): void {
  stdout.on("error", () => process.exit(1));
}

function unknownCommand(word: string): string {
  const near = nearest(word, [...commands.keys(), "--version"]);
  return `Unknown command ${quote(word)}${near === undefined ? "" : `: did you mean ${near}?`}`;
}

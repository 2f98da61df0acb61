/**
 * What a command of this program is: flags in groups, each with its environment variable, the words it takes,
 * and what it does. citty holds the definition and parses; argv.ts and settings.ts say what is wrong.
 */
import { createSettingsReader } from "../config/settings.ts";
import type { Setting, Settings, SettingsReader } from "../config/settings.ts";
import { withEnvFile } from "./env-file.ts";

/** One flag. */
export interface Flag {
  /** Heading in the help; groups come in the order of their first flag. */
  readonly group: string;
  readonly type: "string" | "boolean";
  /** One line for the help. */
  readonly description: string;
  /** What stands for the value in the help, as `DURATION`. */
  readonly valueHint?: string;
  /** Environment variable that it wins over. */
  readonly env?: string;
  /** Default, as it would be written: the only place where it stands. It is parsed as if it had been given. */
  readonly default?: string;
  /** In place of a default: what happens without the flag, in words, for the help. */
  readonly fallback?: string;
  /** May be given several times: the values are joined by commas, which separate them in one value too. */
  readonly list?: boolean;
  /** Left out of the help and of suggestions. */
  readonly hidden?: boolean;
}

/** Name, without dashes, to flag. */
export type FlagSet = Readonly<Record<string, Flag>>;

/** An argument that is not a flag. */
export interface Word {
  readonly name: string;
  readonly description: string;
  /** What it may be, for a shell's completion; none: anything. */
  readonly choices?: readonly string[];
}

/** What a command is run with. */
export interface Invocation {
  /** The settings: flags over environment. Its `finish()` throws everything that is wrong with the command line. */
  readonly read: SettingsReader;
  /** The same, as texts. */
  readonly settings: Settings;
  /** At most as many as the command declares. */
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
}

/** A command. */
export interface CliCommand {
  readonly name: string;
  /** One line. */
  readonly description: string;
  readonly flags: FlagSet;
  /** Flags of another command whose defaults hold although this one does not take them. Default: none. */
  readonly otherDefaults?: FlagSet;
  readonly words: readonly Word[];
  /** Paragraphs below the flags in the help: examples, exit codes. */
  readonly epilog?: string;
  /** @returns the exit code. @throws ConfigError where the command line is wrong (exit code 2) */
  readonly run: (invocation: Invocation) => Promise<number>;
}

/** Declares a command; see {@link CliCommand}. */
export function defineCliCommand(command: Omit<CliCommand, "words"> & Partial<CliCommand>): CliCommand {
  return { words: [], ...command };
}

/** Where a command reads and writes. */
export type CommandIo = Pick<Invocation, "env" | "stdout" | "stderr">;

/**
 * Runs a command.
 * @param argv its arguments, as argv.ts made them: citty reads nothing else rightly
 * @param complaints what is already known to be wrong with them
 * @returns the exit code. @throws ConfigError
 */
export async function runCliCommand(
  command: CliCommand,
  io: CommandIo,
  { args, complaints }: { readonly args: readonly string[]; readonly complaints: readonly string[] },
): Promise<number> {
  const flags = Object.entries(command.flags).map(
    ([name, { type, description }]) => [name, { type, description }] as const,
  );
  const { defineCommand, runCommand } = await import("citty");
  const citty = defineCommand({
    meta: { name: command.name, description: command.description },
    args: Object.fromEntries(flags),
    async run({ args: parsed }) {
      const file = Object.hasOwn(command.flags, "environment-file") ? parsed["environment-file"] : undefined;
      const env = await withEnvFile(io.env, file === undefined ? undefined : String(file));
      const settings = resolveSettings(command.flags, parsed, env);
      const read = createSettingsReader(
        settings,
        defaultsOf({ ...command.otherDefaults, ...command.flags }),
        complaints,
      );
      return command.run({
        env,
        settings,
        read,
        words: parsed._,
        // Node opens each where it is first asked for, and `serve` prints nothing.
        get stdout() {
          return io.stdout;
        },
        get stderr() {
          return io.stderr;
        },
      });
    },
  });
  return (await runCommand(citty, { rawArgs: [...args] })).result as number;
}

/** The defaults of a set of flags, for {@link createSettingsReader}. */
export function defaultsOf(flags: FlagSet): Record<string, string> {
  const given = Object.entries(flags).flatMap(([name, flag]) =>
    flag.default === undefined ? [] : [[name, flag.default] as const],
  );
  return Object.fromEntries(given);
}

/** Flag over environment. An empty variable is one that is not set; a flag set to nothing hides its variable. */
function resolveSettings(
  flags: FlagSet,
  parsed: Readonly<Record<string, unknown>>,
  env: NodeJS.ProcessEnv,
): Settings {
  const settings: Record<string, Setting | undefined> = {};
  for (const [name, flag] of Object.entries(flags)) {
    const written = parsed[name];
    const variable = flag.env === undefined ? undefined : env[flag.env];
    if (written !== undefined) settings[name] = settingOf(String(written), `--${name}`);
    else if (variable !== undefined) settings[name] = settingOf(variable, flag.env ?? "");
  }
  return settings;
}

function settingOf(text: string, source: string): Setting | undefined {
  return text === "" ? undefined : { text, source };
}

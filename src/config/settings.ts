/**
 * Settings as texts, with where each came from, and their reading into values: Go's durations and booleans,
 * numbers in a range, choices. A reader collects its complaints, so that everything wrong is reported at once.
 */
import os from "node:os";
import path from "node:path";
import { ProviderError } from "../errors.ts";
import { isPemOrJwk, looksLikeKey, quote } from "../text/quote.ts";

/** What was given for a flag. */
export interface Setting {
  /** As written; never empty. */
  readonly text: string;
  /** Where it came from: `--timeout`, or `OKMS_TIMEOUT`. */
  readonly source: string;
}

/** Flag name, without dashes, to what was given for it. */
export type Settings = Readonly<Record<string, Setting | undefined>>;

/** A command line (or its environment) that is wrong: everything about it at once, one complaint a line. */
export class ConfigError extends ProviderError {
  override readonly name = "ConfigError";
  /** At least one; each a sentence that can stand alone. */
  readonly complaints: readonly string[];

  constructor(complaints: readonly string[]) {
    super("CONFIG", complaints.join("\n"));
    this.complaints = complaints;
  }
}

/** Bounds of a value, both included. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** Reads settings by flag name. What was not given reads as its default; what is wrong does too, and adds a complaint. */
export interface SettingsReader {
  /** Adds a complaint of the caller's own. */
  complain(complaint: string): void;
  /** What was given for it; undefined where it has its default. */
  given(flag: string): Setting | undefined;
  /** As written; undefined where it was not given and has no default. So are `path` and `oneOf`. */
  text(flag: string): string | undefined;
  /** As written, with `~/` at the start replaced by the home folder. */
  path(flag: string): string | undefined;
  /** Go's strconv.ParseBool. Without a default: false. */
  boolean(flag: string): boolean;
  /** A whole number, in decimal. The flag must have a default. */
  integer(flag: string, range: Range): number;
  /** A Go duration, in milliseconds. The flag must have a default. */
  durationMs(flag: string, range: Range): number;
  /** One of several words. */
  oneOf<const Choice extends string>(flag: string, choices: readonly Choice[]): Choice | undefined;
  /** Ends the reading. @throws ConfigError with all complaints, where there are any */
  finish(): void;
}

/**
 * A reader of `settings`.
 * @param defaults flag name to default, written as a setting would be
 * @param earlier complaints found before, about the command line itself; they come first
 */
export function createSettingsReader(
  settings: Settings,
  defaults: Readonly<Record<string, string>>,
  earlier: readonly string[] = [],
): SettingsReader {
  const complaints = [...earlier, ...complaintsOfKeys(settings)];

  /** @param parse gives the value, or a complaint */
  function read<T>(flag: string, parse: (text: string) => { readonly value: T } | string): T {
    const given = settings[flag];
    if (given !== undefined) {
      const parsed = parse(given.text);
      if (typeof parsed !== "string") return parsed.value;
      complain(`Invalid value for ${given.source}: ${quote(given.text)} ${parsed}`);
    }
    const parsed = parse(defaults[flag] ?? "");
    if (typeof parsed === "string") throw new ProviderError("INTERNAL", `the default of --${flag} ${parsed}`);
    return parsed.value;
  }

  /** The same value may be asked for more than once. */
  function complain(complaint: string): void {
    if (!complaints.includes(complaint)) complaints.push(complaint);
  }

  function readPath(flag: string): string | undefined {
    const given = settings[flag];
    const text = given?.text ?? defaults[flag];
    if (given === undefined || text === undefined) return text;
    // A key has been complained about.
    const problem = holdsKey(given) ? undefined : pathProblem(text);
    if (problem !== undefined) complain(`Invalid value for ${given.source}: ${quote(text)}${problem}`);
    const home = text.startsWith("~/") ? homeFolder() : undefined;
    return home === undefined ? text : path.join(home, text.slice(2));
  }

  return {
    complain,
    given: (flag) => settings[flag],
    text: (flag) => settings[flag]?.text ?? defaults[flag],
    path: readPath,
    boolean: (flag) =>
      read(flag, (text) => {
        const value = text === "" ? false : parseGoBoolean(text);
        return value === undefined ? "is not true or false" : { value };
      }),
    integer: (flag, range) => read(flag, (text) => integerIn(text, range)),
    durationMs: (flag, range) => read(flag, (text) => durationIn(text, range)),
    oneOf: (flag, choices) =>
      read(flag, (text) => {
        const choice = choices.find((one) => one === text);
        return choice !== undefined || text === ""
          ? { value: choice }
          : `must be one of: ${choices.join(", ")}`;
      }),
    finish() {
      if (complaints.length > 0) throw new ConfigError(complaints);
    },
  };
}

/** What keeps a text from being a path. */
function pathProblem(text: string): string | undefined {
  if (looksLikeKey(text)) return " looks like a key, not like the path of a file with one";
  if (/\p{Cc}/u.test(text)) return " has a control character in it";
  if (text.startsWith("~/") && homeFolder() === undefined)
    return ": this user has no home folder; set HOME, or give a full path";
  return undefined;
}

/** A key in place of its file's path is a likely slip, and no command may print it or write it into a unit. */
function complaintsOfKeys(settings: Settings): string[] {
  return Object.values(settings).flatMap((setting) =>
    setting === undefined || !holdsKey(setting)
      ? []
      : [`Invalid value for ${setting.source}: it holds a PEM or a key, not the path of a file with one`],
  );
}

function holdsKey({ text }: Setting): boolean {
  return isPemOrJwk(text);
}

/** For published command lines, which quote `"~/…"`: a shell leaves that alone. Undefined for a user that has none. */
function homeFolder(): string | undefined {
  try {
    const home = os.homedir();
    return path.isAbsolute(home) ? home : undefined;
  } catch {
    return undefined;
  }
}

/** Go's strconv.ParseBool, in full; undefined where `text` is no boolean. */
export function parseGoBoolean(text: string): boolean | undefined {
  if (["1", "t", "T", "TRUE", "true", "True"].includes(text)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(text)) return false;
  return undefined;
}

type ParsedNumber = { readonly value: number } | string;

function integerIn(text: string, { min, max }: Range): ParsedNumber {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return value >= min && value <= max ? { value } : `is not a whole number from ${min} to ${max}`;
}

function durationIn(text: string, { min, max }: Range): ParsedNumber {
  const value = parseGoDuration(text);
  if (value === undefined) return 'is not a duration such as "10s", "1m30s" or "500ms"';
  if (value >= min && value <= max) return { value };
  return `is out of range: from ${formatDuration(min)} to ${formatDuration(max)}`;
}

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};
const goDuration = /^[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/;

/**
 * Go's time.ParseDuration: `1h2m3.5s`, `500ms`, `.5s`, `-1s`, `0`.
 * @returns milliseconds; undefined where `text` is no duration, as a bare number is none
 */
export function parseGoDuration(text: string): number | undefined {
  if (text.length > 64 || !goDuration.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/([\d.]+)(ns|us|µs|μs|ms|s|m|h)/g))
    total += Number(amount) * (unitMs[unit ?? ""] ?? Number.NaN);
  return text.startsWith("-") ? -total : total;
}

/** Milliseconds as a Go duration: `1m30s`, `500ms`, `1.5s`; whole milliseconds. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 1_000) return `${Math.round(milliseconds)}ms`;
  const hours = Math.floor(milliseconds / 3_600_000);
  const minutes = Math.floor((milliseconds % 3_600_000) / 60_000);
  const seconds = Math.round(milliseconds % 60_000) / 1_000;
  const parts = [
    hours > 0 ? `${hours}h` : "",
    minutes > 0 ? `${minutes}m` : "",
    seconds > 0 ? `${seconds}s` : "",
  ];
  return parts.join("");
}

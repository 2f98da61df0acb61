/**
 * Settings as texts, with where each came from, and their reading into values: Go's durations and booleans,
 * numbers in a range, choices. A reader collects its complaints, so that everything wrong is told at once.
 */
import os from "node:os";
import path from "node:path";
import { ProviderError } from "../errors.ts";
import { quote, redactPem } from "../text/quote.ts";

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

/** Reads settings by flag name. A bad one adds a complaint and reads as the default. */
export interface SettingsReader {
  /** Adds a complaint of the caller's own. */
  complain(complaint: string): void;
  /** Whether it was given at all. */
  given(flag: string): Setting | undefined;
  /** As written. */
  text(flag: string): string | undefined;
  /** As written, with `~/` at the start replaced by the home folder. */
  path(flag: string): string | undefined;
  /** Go's strconv.ParseBool; false where not given. */
  boolean(flag: string): boolean;
  /** A whole number, in decimal. */
  integer(flag: string, range: Range, fallback: number): number;
  /** A Go duration, in milliseconds. */
  durationMs(flag: string, range: Range, fallback: number): number;
  /** One of several words. */
  oneOf<const Choice extends string>(flag: string, choices: readonly Choice[]): Choice | undefined;
  /** Ends the reading. @throws ConfigError with all complaints, where there are any */
  finish(): void;
}

/**
 * A reader of `settings`.
 * @param earlier complaints found before, about the command line itself; they come first
 */
export function createSettingsReader(settings: Settings, earlier: readonly string[] = []): SettingsReader {
  const complaints = [...earlier, ...complaintsOfPems(settings)];

  function read<T>(flag: string, parse: (text: string) => T | string, fallback: T): T {
    const setting = settings[flag];
    if (setting === undefined) return fallback;
    const value = parse(setting.text);
    if (typeof value !== "string") return value;
    complaints.push(`Invalid value for ${setting.source}: ${quote(setting.text)} ${value}`);
    return fallback;
  }

  return {
    complain: (complaint) => void complaints.push(complaint),
    given: (flag) => settings[flag],
    text: (flag) => settings[flag]?.text,
    path(flag) {
      const given = settings[flag];
      if (given === undefined) return undefined;
      const complain = (about: string): string => {
        const complaint = `Invalid value for ${given.source}: ${quote(given.text)}${about}`;
        // A path may be asked for more than once.
        if (!complaints.includes(complaint)) complaints.push(complaint);
        return given.text;
      };
      // A PEM has been complained about.
      if (/\p{Cc}/u.test(given.text) && !holdsPem(given)) return complain(" has a control character in it");
      if (!given.text.startsWith("~/")) return given.text;
      const home = homeFolder();
      if (home !== undefined) return path.join(home, given.text.slice(2));
      return complain(": this user has no home folder; set HOME, or give a full path");
    },
    boolean: (flag) => read(flag, (text) => parseGoBoolean(text) ?? "is not true or false", false),
    integer: (flag, range, fallback) => read(flag, (text) => integerIn(text, range), fallback),
    durationMs: (flag, range, fallback) => read(flag, (text) => durationIn(text, range), fallback),
    oneOf<const Choice extends string>(flag: string, choices: readonly Choice[]): Choice | undefined {
      const text = settings[flag]?.text;
      const choice = choices.find((one) => one === text);
      if (text !== undefined && choice === undefined)
        read(flag, () => `must be one of: ${choices.join(", ")}`, "");
      return choice;
    },
    finish() {
      if (complaints.length > 0) throw new ConfigError(complaints);
    },
  };
}

/** A key in place of its file's path is a likely slip, and no command may print it or write it into a unit. */
function complaintsOfPems(settings: Settings): string[] {
  return Object.values(settings).flatMap((setting) =>
    setting === undefined || !holdsPem(setting)
      ? []
      : [`Invalid value for ${setting.source}: it holds a PEM, not the path of a file with one`],
  );
}

function holdsPem({ text }: Setting): boolean {
  return redactPem(text) !== text;
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

function integerIn(text: string, { min, max }: Range): number | string {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return value >= min && value <= max ? value : `is not a whole number from ${min} to ${max}`;
}

function durationIn(text: string, { min, max }: Range): number | string {
  const value = parseGoDuration(text);
  if (value === undefined) return 'is not a duration such as "10s", "1m30s" or "500ms"';
  if (value >= min && value <= max) return value;
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

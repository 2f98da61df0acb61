/**
 * Argument lists as Go's flag package reads them (one dash or two, `=` or a space, bare booleans, `--`, the
 * last of several wins), made into the one form that citty cannot misread: `--name=value`. The values of a list
 * are joined in place of that. citty itself takes unknown flags and spare words in silence; here they become
 * complaints.
 */
import { parseGoBoolean } from "../config/settings.ts";
import { looksLikeKey, quote } from "../text/quote.ts";
import type { FlagSet } from "./command.ts";
import { nearest } from "./nearest.ts";

/** An argument list, understood. */
export interface Argv {
  /** `--name=value` for each flag given, each once, then the words. */
  readonly args: readonly string[];
  /** What can't be understood, one sentence each. */
  readonly complaints: readonly string[];
}

/** Whether `argv` holds one of the flags that every command has, and that are answered before it is run. */
export function asksFor(argv: readonly string[], ...names: readonly ("help" | "h" | "version")[]): boolean {
  const end = argv.indexOf("--");
  const flags = end === -1 ? argv : argv.slice(0, end);
  return flags.some((argument) => {
    if (!argument.startsWith("-")) return false;
    const { name, value } = splitFlag(argument);
    return names.some((one) => one === name) && parseGoBoolean(value ?? "true") === true;
  });
}

/**
 * Reads an argument list.
 * @param flags the flags that the command knows
 * @param wordCount how many words (arguments that are no flags) it takes
 */
export function readArgv(argv: readonly string[], flags: FlagSet, wordCount: number): Argv {
  const found: Found = { values: new Map(), words: [], complaints: [] };
  const rest = [...argv];
  for (let argument = rest.shift(); argument !== undefined; argument = rest.shift()) {
    if (argument === "--") found.words.push(...rest.splice(0));
    else if (!argument.startsWith("-") || argument === "-") found.words.push(argument);
    else takeFlag(argument, rest, flags, found);
  }
  const words = found.words.slice(0, wordCount);
  const spare = complaintsOfSpare(found.words.slice(wordCount), argv.some(holdsKey));
  const args = [...found.values].map(([name, value]) => `--${name}=${value}`);
  // After `--`: citty would take a word that begins with a dash for a flag.
  return { args: [...args, "--", ...words], complaints: [...found.complaints, ...spare] };
}

interface Found {
  readonly values: Map<string, string>;
  readonly words: string[];
  readonly complaints: string[];
}

/** Takes a flag, and from `rest` its value where it stands apart. */
function takeFlag(argument: string, rest: string[], flags: FlagSet, { values, complaints }: Found): void {
  const { name, value: attached } = splitFlag(argument);
  const flag = Object.hasOwn(flags, name) ? flags[name] : undefined;
  const take = (value: string): void => {
    const before = flag?.list === true ? values.get(name) : undefined;
    values.set(name, before === undefined ? value : `${before},${value}`);
  };
  // `-version=false` asks for nothing; true has been answered before.
  if (["help", "h", "version"].includes(name) && parseGoBoolean(attached ?? "") === false) return;
  if (flag === undefined) {
    complaints.push(unknownFlag(argument, name, flags));
    // What follows is most likely its value, and not to be complained about as well.
    if (attached === undefined && rest[0]?.startsWith("-") === false) rest.shift();
  } else if (flag.type === "boolean") {
    // As in Go, a boolean has its value attached or none: a word after it would be lost on it.
    if (attached === undefined && parseGoBoolean(rest[0] ?? "") !== undefined)
      complaints.push(
        `Unexpected argument ${quote(rest[0] ?? "")}: a boolean is written --${name}=${rest.shift() ?? ""}`,
      );
    const value = parseGoBoolean(attached ?? "true");
    if (value !== undefined) values.set(name, String(value));
    else complaints.push(`Invalid value for --${name}: ${quote(attached ?? "")} is not true or false`);
  } else if (attached !== undefined) take(attached);
  else if (isValue(rest[0], flags)) take(rest.shift() ?? "");
  else complaints.push(`Missing value: flag --${name} needs one (--${name} ${flag.valueHint ?? "VALUE"})`);
}

function splitFlag(argument: string): { name: string; value: string | undefined } {
  const bare = argument.slice(argument.startsWith("--") ? 2 : 1);
  const at = bare.indexOf("=");
  return at === -1
    ? { name: bare, value: undefined }
    : { name: bare.slice(0, at), value: bare.slice(at + 1) };
}

/** Go would take whatever follows; a known flag that follows is rather a value that was forgotten. */
function isValue(argument: string | undefined, flags: FlagSet): boolean {
  if (argument === undefined || argument === "--") return false;
  return !argument.startsWith("-") || !Object.hasOwn(flags, splitFlag(argument).name);
}

function unknownFlag(argument: string, name: string, flags: FlagSet): string {
  const written = argument.split("=", 1)[0] ?? argument;
  const known = Object.keys(flags).filter((flag) => flags[flag]?.hidden !== true);
  const near = nearest(name, [...known, "help", "version"]);
  return `Unknown flag ${quote(written)}${near === undefined ? "" : `: did you mean --${near}?`}`;
}

/** `$(cat key.pem)` without quotes: the shell makes words of the key, and an error must not print them. */
function holdsKey(word: string): boolean {
  return word.includes("-----BEGIN") || looksLikeKey(word);
}

function complaintsOfSpare(words: readonly string[], isSecret: boolean): string[] {
  if (!isSecret || words.length === 0) return words.map((word) => `Unexpected argument ${quote(word)}`);
  return [
    `${words.length} unexpected arguments, not shown: a flag takes the path of a PEM file, not what is in it`,
  ];
}

/**
 * One line of the log, as JSON or as text. Values come from callers and servers, so control characters are
 * escaped (no line can be forged, no terminal controlled), long ones are cut, and a PEM is replaced.
 */
import { colors } from "consola/utils";
import { ProviderError } from "../errors.ts";
import { redactPem } from "../text/quote.ts";
import type { LogLevel } from "./levels.ts";

/** Facts beside a message: flat. */
export type LogFields = Readonly<Record<string, string | number | boolean | bigint | undefined>>;

/** A line before it is written. */
export interface LogLine {
  readonly time: Date;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** Characters of one value; a dump may have more. */
const maxValueLength = 1_024;
const maxDumpLength = 65_536;
const maxCauses = 8;

/** `{"time", "level", "msg", …fields}`; a field whose name is one of these is left out. */
export function formatJson({ time, level, message, fields }: LogLine): string {
  const head = { time: time.toISOString(), level, msg: clean(message) };
  const line: Record<string, unknown> = { ...head };
  for (const [name, value] of Object.entries(fields))
    if (!Object.hasOwn(head, name)) line[name] = jsonValue(name, value);
  return escapeControls(JSON.stringify(line));
}

/** `time LEVEL message name=value …`; the lines of a `dump` follow, indented. */
export function formatText({ time, level, message, fields }: LogLine, isColored: boolean): string {
  const paint = isColored ? levelColors[level] : plain;
  const dim = isColored ? colors.gray : plain;
  const { dump, ...facts } = fields;
  const pairs = Object.entries(facts)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${dim(`${name}=`)}${textValue(String(value))}`);
  const head = `${dim(time.toISOString())} ${paint(level.toUpperCase().padEnd(5))}`;
  const line = [head, escapeControls(clean(message)), ...pairs].join(" ");
  if (dump === undefined) return line;
  const dumped = cleanDump(String(dump)).trimEnd().split("\n");
  return [line, ...dumped.map((part) => `    ${escapeControls(part)}`)].join("\n");
}

const plain = (text: string): string => text;
const levelColors = {
  error: colors.red,
  warn: colors.yellow,
  info: colors.green,
  debug: colors.cyan,
  trace: colors.gray,
} as const;

function jsonValue(name: string, value: LogFields[string]): unknown {
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "string") return value;
  return name === "dump" ? cleanDump(value) : clean(value);
}

function textValue(value: string): string {
  const text = clean(value);
  return /^[\w./:@+,<>{}[\]()*%-]+$/.test(text) ? text : escapeControls(JSON.stringify(text));
}

/** Redacted before it is cut: a cut could remove the line by which a PEM is recognised. */
function clean(value: string): string {
  return cut(redactPem(value.slice(0, maxDumpLength)), maxValueLength);
}

function cleanDump(value: string): string {
  return redactPem(cut(value, maxDumpLength));
}

function cut(value: string, length: number): string {
  return value.length <= length ? value : `${value.slice(0, length)}…`;
}

/** C0, DEL, C1, line separators, and what turns the direction of writing. */
// oxlint-disable-next-line no-control-regex -- these are what is looked for
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

function escapeControls(text: string): string {
  return text.replaceAll(
    controls,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * An error as fields: `error` (its message), `code`, its details, `cause` (the messages below, each after `←`),
 * and for one that neither this program threw on purpose nor the system gave (a full disk, a port in use) its `stack`.
 * Undefined makes none.
 */
export function describeError(error: unknown): LogFields {
  if (error === undefined) return {};
  const causes = causesOf(error);
  return {
    ...(error instanceof ProviderError && { ...error.details, code: error.code }),
    error: messageOf(error),
    ...(causes.length > 0 && { cause: causes.join(" ← ") }),
    ...(error instanceof Error && isUnexpected(error) && { stack: framesOf(error) }),
  };
}

function isUnexpected(error: Error): boolean {
  return !(error instanceof ProviderError) && !("syscall" in error);
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? ` [${error.code}]` : "";
  const text = error.message === "" ? error.name : error.message;
  return error instanceof ProviderError ? text : `${text}${code}`;
}

/** What lies below, down to {@link maxCauses}; the errors of an AggregateError count as causes. */
function causesOf(error: unknown): string[] {
  const messages: string[] = [];
  let below: unknown[] = belowOf(error);
  while (below.length > 0 && messages.length < maxCauses) {
    messages.push(below.map((one) => messageOf(one)).join("; "));
    below = below.flatMap((one) => belowOf(one)).slice(0, maxCauses);
  }
  return messages;
}

function belowOf(error: unknown): unknown[] {
  if (!(error instanceof Error)) return [];
  const errors = error instanceof AggregateError ? error.errors.slice(0, maxCauses) : [];
  return error.cause === undefined ? errors : [error.cause, ...errors];
}

/** Where it came from, without its message, which stands elsewhere. */
function framesOf(error: Error): string | undefined {
  const frames = error.stack?.split("\n").filter((line) => line.trimStart().startsWith("at ")) ?? [];
  return frames.length === 0
    ? undefined
    : frames
        .slice(0, 8)
        .map((frame) => frame.trim())
        .join(" | ");
}

/**
 * The log: text for people on a terminal, one JSON object a line otherwise. A trouble that repeats is written
 * once a minute, with the count. What is written where is the callers' affair; see format.ts for the lines.
 */
import { describeError, formatJson, formatText } from "./format.ts";
import type { LogFields, LogLine } from "./format.ts";
import { logLevels, type LogLevel } from "./levels.ts";
import { createLogLimiter } from "./repeat-filter.ts";

export type { LogFields } from "./format.ts";

/** Where the program's parts write. Never given a plaintext, seed, key, ciphertext or PEM. */
export interface Logger {
  /** Whether lines of this level are written: ask before making something costly. */
  enabled(level: LogLevel): boolean;
  error(message: string, fields?: LogFields, error?: unknown): void;
  warn(message: string, fields?: LogFields, error?: unknown): void;
  info(message: string, fields?: LogFields, error?: unknown): void;
  debug(message: string, fields?: LogFields, error?: unknown): void;
  trace(message: string, fields?: LogFields, error?: unknown): void;
  /** Writes what is folded: nothing may come after it. */
  settle(): void;
}

/** How a {@link Logger} is made. */
export interface LoggerOptions {
  /** The least important level that is written. */
  readonly level: LogLevel;
  readonly format: "text" | "json";
  /** Default: process.stderr. Coloured where it is a terminal and NO_COLOR is not set. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/** Whoever reads the log may fall behind so far: then lines are lost, and not memory. */
const maxWaitingBytes = 1 << 20;
const lostLines = "lines of the log were lost: its reader did not keep up";

/** Makes a logger. It never throws: a stream that breaks loses its lines, not the process. */
export function createLogger(options: LoggerOptions): Logger {
  const stream = options.stream ?? process.stderr;
  const highest = logLevels.indexOf(options.level);
  const isColored = stream.isTTY === true && !process.env["NO_COLOR"];
  stream.on("error", () => undefined);

  const waitingBytes = (): number => ("writableLength" in stream ? Number(stream.writableLength) : 0);
  const format = (line: LogLine): string =>
    `${options.format === "json" ? formatJson(line) : formatText(line, isColored)}\n`;
  let lost = 0;

  function write(line: LogLine): void {
    if (waitingBytes() > maxWaitingBytes) {
      lost += 1;
      return;
    }
    if (lost > 0) {
      const fields = { lines: lost };
      lost = 0;
      stream.write(format({ time: new Date(), level: "warn", message: lostLines, fields }));
    }
    stream.write(format(line));
  }
  const limited = createLogLimiter(write);

  function log(level: LogLevel, message: string, fields: LogFields = {}, error?: unknown): void {
    if (logLevels.indexOf(level) > highest) return;
    // Calls that were taken back, too: they can be thousands, and are information.
    const isTrouble = level === "error" || level === "warn" || (level === "info" && error !== undefined);
    const line = { time: new Date(), level, message, fields: { ...fields, ...describeError(error) } };
    if (isTrouble) limited.trouble(line);
    else limited.other(line);
  }

  return {
    enabled: (level) => logLevels.indexOf(level) <= highest,
    error: (...args) => {
      log("error", ...args);
    },
    warn: (...args) => {
      log("warn", ...args);
    },
    info: (...args) => {
      log("info", ...args);
    },
    debug: (...args) => {
      log("debug", ...args);
    },
    trace: (...args) => {
      log("trace", ...args);
    },
    settle: limited.settle,
  };
}

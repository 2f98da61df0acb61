/**
 * The log: text for people on a terminal, one JSON object a line otherwise. A failure that repeats is written
 * once a minute, with the count. format.ts makes the lines, sink.ts writes them.
 */
import { fstatSync } from "node:fs";
import { describeError, formatJson, formatText } from "./format.ts";
import type { LogFields, LogLine } from "./format.ts";
import { logLevels, type LogLevel } from "./levels.ts";
import { createRepeatFilter } from "./repeat-filter.ts";
import { createLogSink, type LogStream } from "./sink.ts";

export type { LogFields } from "./format.ts";

/** What the program's parts log with. Never given a plaintext, seed, key, ciphertext or PEM. */
export interface Logger {
  /** Whether lines of this level are written: ask before making something costly. */
  enabled(level: LogLevel): boolean;
  error(message: string, fields?: LogFields, error?: unknown): void;
  warn(message: string, fields?: LogFields, error?: unknown): void;
  info(message: string, fields?: LogFields, error?: unknown): void;
  debug(message: string, fields?: LogFields, error?: unknown): void;
  trace(message: string, fields?: LogFields, error?: unknown): void;
  /** Writes the counts of what is folded now: at the end. */
  settle(): void;
  /** Writes what is collected now. Lines of level error are written at once anyhow. */
  flush(): void;
}

/** A logger with its stream. */
export interface StreamLogger extends Logger {
  /** How many lines could not be written so far. */
  lostLines(): number;
}

/** How a {@link Logger} is made. */
export interface LoggerOptions {
  /** The least important level that is written. */
  readonly level: LogLevel;
  readonly format: "text" | "json";
  /** Default: process.stderr. Coloured where it is a terminal and NO_COLOR is not set. */
  readonly stream?: LogStream;
  /** Where JOURNAL_STREAM and NO_COLOR are read. Default: process.env. */
  readonly env?: NodeJS.ProcessEnv;
}

/** syslog's priorities, which journald takes from the beginning of a line (sd-daemon(3)). */
const priorities = { error: 3, warn: 4, info: 6, debug: 7, trace: 7 } as const satisfies Record<
  LogLevel,
  number
>;

/** Makes a logger. It never throws: a stream that breaks loses its lines, not the process. */
export function createLogger(options: LoggerOptions): StreamLogger {
  const { stream = process.stderr, env = process.env } = options;
  const highest = logLevels.indexOf(options.level);
  const isColored = stream.isTTY === true && !env["NO_COLOR"];
  const toJournal = isJournal(stream, env);

  const format = (line: LogLine): string => {
    const text = options.format === "json" ? formatJson(line) : formatText(line, isColored);
    return `${toJournal ? text.replaceAll(/^/gm, `<${priorities[line.level]}>`) : text}\n`;
  };
  const sink = createLogSink({
    stream,
    lostLine: (lines, reason) =>
      format({
        time: new Date(),
        level: "warn",
        message: "lines of the log were lost",
        fields: { lines, reason },
      }),
  });
  const filter = createRepeatFilter((line) => {
    sink.write(format(line));
    if (line.level === "error") sink.flush();
  });
  if (stream === process.stderr) process.once("exit", sink.flush);

  function log(level: LogLevel, message: string, fields: LogFields = {}, error?: unknown): void {
    if (logLevels.indexOf(level) > highest) return;
    // Calls that their callers cancelled, too: they can be thousands, and are information.
    const isFailure = level === "error" || level === "warn" || (level === "info" && error !== undefined);
    const line = { time: new Date(), level, message, fields: { ...fields, ...describeError(error) } };
    if (isFailure) filter.failure(line);
    else filter.other(line);
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
    settle: filter.settle,
    flush: sink.flush,
    lostLines: sink.lostLines,
  };
}

/** Whether journald reads the stream: JOURNAL_STREAM is the device and inode of what it gave (systemd.exec(5)). */
function isJournal(stream: LogStream, env: NodeJS.ProcessEnv): boolean {
  if (env["JOURNAL_STREAM"] === undefined || stream.fd === undefined) return false;
  try {
    const { dev, ino } = fstatSync(stream.fd, { bigint: true });
    return env["JOURNAL_STREAM"] === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

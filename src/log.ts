/**
 * The log: text for people on a terminal, one JSON object a line otherwise.
 */
import type { LogLevel } from "./config.ts";

/** Facts beside a message: flat. An `error` is written as its message, its code and its causes'. */
export type LogFields = Readonly<Record<string, string | number | boolean | bigint | undefined>>;

/** Where the program's parts write. Never given a plaintext, seed, key, ciphertext or PEM. */
export interface Logger {
  /** Whether lines of this level are written: ask before making something costly. */
  enabled(level: LogLevel): boolean;
  error(message: string, fields?: LogFields, error?: unknown): void;
  warn(message: string, fields?: LogFields, error?: unknown): void;
  info(message: string, fields?: LogFields, error?: unknown): void;
  debug(message: string, fields?: LogFields, error?: unknown): void;
  trace(message: string, fields?: LogFields, error?: unknown): void;
}

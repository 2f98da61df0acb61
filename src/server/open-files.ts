/**
 * The limit of open files (RLIMIT_NOFILE): how many connections it allows, for connections to the KMS need files as well;
 * and a watch for the moment when none is left, which nothing else reports: libuv closes the connections that it cannot
 * accept without a word.
 */
import { closeSync, openSync, readFileSync } from "node:fs";

/** Files that Node, the log and the certificates need, and some connections to the KMS. */
const reservedFiles = 32;
/** Where the limit cannot be read: systemd's default. */
const usualLimit = 1024;

/** `part` of the files that may be open beyond the reserved ones, from `least` to `most`. */
export function connectionsWithin(
  part: number,
  { least, most, limit = fileLimit() }: { readonly least: number; readonly most: number; limit?: number },
): number {
  return Math.max(least, Math.min(most, Math.floor((limit - reservedFiles) * part)));
}

/** The soft limit, which Node raises to the hard one at its start. */
function fileLimit(): number {
  try {
    const text = readFileSync("/proc/self/limits", "utf8");
    const limit = /^Max open files\s+(\d+|unlimited)/m.exec(text)?.[1];
    return limit === "unlimited" ? Infinity : Number(limit ?? usualLimit);
  } catch {
    return usualLimit;
  }
}

const watchMs = 1000;

/** Tries each second whether a file can be opened. */
export interface OpenFilesWatch {
  stop(): void;
}

/**
 * Starts a watch. Its timer does not keep the process alive.
 * @param onChange called when no descriptor is left, with the reason, and without one when there are some again
 */
export function watchOpenFiles(onChange: (error?: Error) => void): OpenFilesWatch {
  let isExhausted = false;
  const timer = setInterval(() => {
    const error = failureToOpen();
    if ((error !== undefined) === isExhausted) return;
    isExhausted = error !== undefined;
    onChange(error);
  }, watchMs).unref();
  return { stop: () => clearInterval(timer) };
}

/** EMFILE, of this process, or ENFILE, of the host. */
function failureToOpen(): Error | undefined {
  try {
    closeSync(openSync("/dev/null", "r"));
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "EMFILE" || code === "ENFILE" ? (error as Error) : undefined;
  }
}

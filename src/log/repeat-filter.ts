/**
 * Keeps a trouble that repeats from filling the log: its first line is written at once, those of the minute
 * after are counted, and the last of them is written at the minute's end, with the count. A line that is no trouble
 * and speaks of the same server or file ends the minute before it: what comes after is news.
 */
import type { LogLine } from "./format.ts";

/** Time in which lines of one trouble are folded together, in ms. */
export const repeatWindowMs = 60_000;
/** Troubles watched at once; beyond, the oldest is let go, so that a peer can't make the map grow. */
const maxTroubles = 256;

/** Writes what is not folded. */
export interface LogLimiter {
  /** A line of a trouble. */
  trouble(line: LogLine): void;
  /** A line of anything else. */
  other(line: LogLine): void;
  /** Ends every window: what is folded is written now. */
  settle(): void;
}

interface Trouble {
  timer: NodeJS.Timeout;
  /** Of what its lines speak. */
  readonly subject: string;
  /** Lines not written in this window. */
  count: number;
  last: LogLine;
}

/** Fields by which a line speaks of one thing: each character tells. */
const subjectFields = ["endpoint", "file", "path"] as const;
/** Fields that tell one trouble from another beside these; others (uid, times) differ from line to line of the same. */
const tellingFields = ["method", "grpc", "kind", "code", "error", "reason"] as const;

/**
 * Makes a limiter. In the fields of a line `repeated` counts what it stands for, and `last` is when the last of it
 * was, in ISO 8601.
 */
export function createLogLimiter(write: (line: LogLine) => void): LogLimiter {
  const troubles = new Map<string, Trouble>();

  function openWindow(key: string, line: LogLine): void {
    const timer = setTimeout(() => {
      const told = closeWindow(key);
      if (told !== undefined) openWindow(key, told);
    }, repeatWindowMs).unref();
    troubles.set(key, { timer, subject: subjectOf(line), count: 0, last: line });
  }

  /** Ends a window. @returns the line that stands for what was folded, where there was any */
  function closeWindow(key: string): LogLine | undefined {
    const trouble = troubles.get(key);
    if (trouble === undefined) return undefined;
    troubles.delete(key);
    clearTimeout(trouble.timer);
    if (trouble.count === 0) return undefined;
    const { last, count: repeated } = trouble;
    write({ ...last, time: new Date(), fields: { ...last.fields, repeated, last: last.time.toISOString() } });
    return last;
  }

  return {
    trouble(line) {
      const key = keyOf(line);
      const trouble = troubles.get(key);
      if (trouble !== undefined) {
        trouble.count += 1;
        trouble.last = line;
        return;
      }
      // Without a window after it: one that was opened again would be one too many.
      if (troubles.size >= maxTroubles) closeWindow(troubles.keys().next().value ?? "");
      write(line);
      openWindow(key, line);
    },
    other(line) {
      const subject = subjectOf(line);
      if (subject !== "")
        for (const [key, trouble] of troubles) if (trouble.subject === subject) closeWindow(key);
      write(line);
    },
    settle() {
      for (const key of troubles.keys()) closeWindow(key);
    },
  };
}

/** Empty where a line speaks of nothing in particular. */
function subjectOf({ fields }: LogLine): string {
  return subjectFields
    .map((field) => fields[field] ?? "")
    .join("\n")
    .trim();
}

/** Numbers are left out: `waited 2999 ms` and `waited 3000 ms` are the same trouble. */
function keyOf(line: LogLine): string {
  const { level, message, fields } = line;
  const told = [message, ...tellingFields.map((field) => String(fields[field]))];
  return [level, subjectOf(line), told.join("\n").replaceAll(/\d+/g, "#")].join("\n").slice(0, 1024);
}

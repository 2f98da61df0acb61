/**
 * Keeps a trouble that repeats from filling the log: its first line is written at once, those of the minute
 * after are counted, and the last of them is written at the minute's end, with the count.
 */
import type { LogLine } from "./log-format.ts";

/** Time in which lines of one trouble are folded together, in ms. */
export const repeatWindowMs = 60_000;
/** Troubles watched at once; beyond, the oldest is let go, so that a peer can't make the map grow. */
const maxTroubles = 256;

interface Trouble {
  timer: NodeJS.Timeout;
  /** Lines not written in this window. */
  count: number;
  last: LogLine;
}

/** Fields that tell one trouble from another; others (uid, times) differ from line to line of the same. */
const tellingFields = ["method", "endpoint", "file", "path", "kind", "code", "error"] as const;

/** Makes a `write` that folds what repeats; `repeated` in the fields of a line counts what it stands for. */
export function createLogLimiter(write: (line: LogLine) => void): (line: LogLine) => void {
  const troubles = new Map<string, Trouble>();

  function openWindow(key: string, line: LogLine): void {
    const timer = setTimeout(() => {
      closeWindow(key);
    }, repeatWindowMs).unref();
    troubles.set(key, { timer, count: 0, last: line });
  }

  function closeWindow(key: string): void {
    const trouble = troubles.get(key);
    if (trouble === undefined) return;
    troubles.delete(key);
    clearTimeout(trouble.timer);
    if (trouble.count === 0) return;
    write({ ...trouble.last, fields: { ...trouble.last.fields, repeated: trouble.count } });
    openWindow(key, trouble.last);
  }

  return (line) => {
    const key = keyOf(line);
    const trouble = troubles.get(key);
    if (trouble !== undefined) {
      trouble.count += 1;
      trouble.last = line;
      return;
    }
    if (troubles.size >= maxTroubles) closeWindow(troubles.keys().next().value ?? "");
    write(line);
    openWindow(key, line);
  };
}

/** Numbers are left out: `waited 2999 ms` and `waited 3000 ms` are the same trouble. */
function keyOf({ level, message, fields }: LogLine): string {
  const parts = [level, message, ...tellingFields.map((field) => String(fields[field]))];
  return parts.join("\n").replaceAll(/\d+/g, "#").slice(0, 1024);
}

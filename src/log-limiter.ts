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
const tellingFields = ["method", "grpc", "endpoint", "file", "path", "kind", "code", "error"] as const;

/** Makes a `write` that folds what repeats; `repeated` in the fields of a line counts what it stands for. */
export function createLogLimiter(write: (line: LogLine) => void): (line: LogLine) => void {
  const troubles = new Map<string, Trouble>();

  function openWindow(key: string, line: LogLine): void {
    const timer = setTimeout(() => {
      const told = closeWindow(key);
      if (told !== undefined) openWindow(key, told);
    }, repeatWindowMs).unref();
    troubles.set(key, { timer, count: 0, last: line });
  }

  /** Ends a window. @returns the line that stands for what was folded, where there was any */
  function closeWindow(key: string): LogLine | undefined {
    const trouble = troubles.get(key);
    if (trouble === undefined) return undefined;
    troubles.delete(key);
    clearTimeout(trouble.timer);
    if (trouble.count > 0)
      write({ ...trouble.last, fields: { ...trouble.last.fields, repeated: trouble.count } });
    return trouble.count > 0 ? trouble.last : undefined;
  }

  return (line) => {
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
  };
}

/** Numbers are left out: `waited 2999 ms` and `waited 3000 ms` are the same trouble. */
function keyOf({ level, message, fields }: LogLine): string {
  const parts = [level, message, ...tellingFields.map((field) => String(fields[field]))];
  return parts.join("\n").replaceAll(/\d+/g, "#").slice(0, 1024);
}

/**
 * Keeps a failure that repeats from filling the log: its first line is written at once, those of the minute
 * after are counted, and the last of them is written at the minute's end, with the count. A line that reports no failure
 * and concerns the same server or file ends the minute before it: what comes after is news. Where that goes to and fro, as at a
 * server that refuses every other request, such lines are folded, too.
 */
import type { LogLine } from "./format.ts";

/** Time in which lines of one failure are folded together, in ms. */
const repeatWindowMs = 60_000;
/** So often in that time a line that reports no failure is news of the same server or file. */
const mostNews = 4;
/** Failures watched at once; beyond, the oldest is dropped, so that a peer cannot make the map grow. */
const maxFailures = 256;
/** Reasons distinguished for one failure: a server may send new words each time. */
const maxReasons = 8;

/** Writes what is not folded. */
export interface RepeatFilter {
  /** A line that reports a failure. */
  failure(line: LogLine): void;
  /** Any other line. */
  other(line: LogLine): void;
  /** Ends every window: what is folded is written now. */
  settle(): void;
}

interface Failure {
  timer: NodeJS.Timeout;
  /** What its lines concern. */
  readonly subject: string;
  /** Its identity apart from the reason. */
  readonly group: string;
  /** Lines not written in this window. */
  count: number;
  last: LogLine;
}

/** Fields that name what a line concerns, compared as they are. */
const subjectFields = ["endpoint", "file", "path"] as const;
/** Fields that distinguish failures beside these; others (uid, times) differ between lines of the same failure. */
const identityFields = ["method", "grpc", "kind", "code"] as const;

/**
 * Makes a filter. In the fields of a line `repeated` counts what it stands for, and `last` is when the last of it
 * was, in ISO 8601.
 */
export function createRepeatFilter(write: (line: LogLine) => void): RepeatFilter {
  const failures = new Map<string, Failure>();
  /** When there was news of each subject, in ms of the clock. */
  const news = new Map<string, readonly number[]>();

  function openWindow(key: string, group: string, line: LogLine): void {
    const timer = setTimeout(() => {
      const written = closeWindow(key);
      if (written !== undefined) openWindow(key, group, written);
    }, repeatWindowMs).unref();
    failures.set(key, { timer, subject: subjectOf(line), group, count: 0, last: line });
  }

  /** Ends a window. @returns the line that stands for what was folded, where there was any */
  function closeWindow(key: string): LogLine | undefined {
    const failure = failures.get(key);
    if (failure === undefined) return undefined;
    failures.delete(key);
    clearTimeout(failure.timer);
    if (failure.count === 0) return undefined;
    const { last, count: repeated } = failure;
    write({ ...last, time: new Date(), fields: { ...last.fields, repeated, last: last.time.toISOString() } });
    return last;
  }

  /** The window of a line: where its failure has too many reasons already, one for all others. */
  function keyOf(line: LogLine, group: string): string {
    const key = `${group}\n${reasonOf(line)}`;
    if (failures.has(key)) return key;
    const reasons = [...failures.values()].filter((failure) => failure.group === group).length;
    return reasons < maxReasons ? key : group;
  }

  function keysOf(subject: string): string[] {
    return [...failures].filter(([, failure]) => failure.subject === subject).map(([key]) => key);
  }

  function isNews(subject: string, at: number): boolean {
    const recent = (news.get(subject) ?? []).filter((before) => before > at - repeatWindowMs);
    if (recent.length >= mostNews) return false;
    news.set(subject, [...recent, at]);
    return true;
  }

  function fold(line: LogLine): void {
    const group = groupOf(line);
    const key = keyOf(line, group);
    const failure = failures.get(key);
    if (failure !== undefined) {
      failure.count += 1;
      failure.last = line;
      return;
    }
    // Without a window after it: one that was opened again would be one too many.
    if (failures.size >= maxFailures) closeWindow(failures.keys().next().value ?? "");
    write(line);
    openWindow(key, group, line);
  }

  return {
    failure: fold,
    other(line) {
      // Each exchange is a debug line: it says nothing new of the server.
      const subject = failures.size > 0 && line.level === "info" ? subjectOf(line) : "";
      const ended = subject === "" ? [] : keysOf(subject);
      if (ended.length > 0 && !isNews(subject, line.time.getTime())) {
        fold(line);
        return;
      }
      for (const key of ended) closeWindow(key);
      write(line);
    },
    settle() {
      for (const key of failures.keys()) closeWindow(key);
    },
  };
}

/** Empty where a line concerns nothing in particular. */
function subjectOf({ fields }: LogLine): string {
  return subjectFields
    .map((field) => fields[field] ?? "")
    .join("\n")
    .trim();
}

function groupOf(line: LogLine): string {
  const { level, message, fields } = line;
  const identity = [message, ...identityFields.map((field) => String(fields[field]))];
  return [level, subjectOf(line), withoutNumbers(identity.join("\n"))].join("\n");
}

/** The message of an error with a code may hold a server's words and distinguishes nothing; one without is this program's. */
function reasonOf({ fields }: LogLine): string {
  const words = fields["reason"] ?? (fields["code"] === undefined ? fields["error"] : undefined);
  return withoutNumbers(String(words));
}

/** `waited 2999 ms` and `waited 3000 ms` are the same failure. */
function withoutNumbers(text: string): string {
  return text.replaceAll(/0x[\da-f]+|\d+/gi, "#").slice(0, 512);
}

/** A process that answers lines of JSON with lines of JSON, and ends with its standard input. */
import type { ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";

/** See above. */
export interface Conversation {
  /** The next line of JSON that the process writes; rejects with what it said on stderr where it ends before. */
  next(): Promise<unknown>;
  write(line: unknown): void;
  /** Ends its input, which ends it, and waits. */
  close(): Promise<void>;
}

/**
 * Talks with a process that was just started.
 * @param name for the message where it ends too early.
 */
export function converse(
  child: ChildProcessByStdio<Writable, Readable, Readable>,
  name: string,
): Conversation {
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaints = (complaints + text).slice(-4000);
  });
  // Where the process ends before it has read all, `next` says why.
  child.stdin.on("error", () => undefined);
  const closed = once(child, "close");
  return {
    async next() {
      const { value, done } = await lines.next();
      if (done !== true) return JSON.parse(value);
      await closed;
      throw new Error(`${name} has ended:\n${complaints}`);
    },
    write: (line) => child.stdin.write(`${JSON.stringify(line)}\n`),
    async close() {
      child.stdin.end();
      await closed;
    },
  };
}

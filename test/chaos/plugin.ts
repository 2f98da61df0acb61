/** The built program as a process, with what can be seen of it from outside: its log, its end, memory, open files. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { nodeOptions } from "../../src/cli/config/output.ts";
import { residentBytes } from "../bench/processes.ts";
import { connectHeap } from "./heap.ts";

const dist = path.join(import.meta.dirname, "../../dist/okms-k8s-encryption-provider.js");

/** What a process holds at one moment. */
export interface Resources {
  readonly residentBytes: number;
  readonly files: number;
}

const inspectorLine = /^Debugger listening on (ws:\S+)$/;

/** See above. */
export interface Plugin {
  readonly child: ChildProcess;
  /** How often a line of the log had this message, at its beginning. */
  logged(message: string): number;
  /** Lines of the log about what nobody caught, and Node's warnings: there must be none. */
  readonly unexpected: readonly string[];
  /** Resolves once `message` has been logged more than `times` times; false after `withinMs`. */
  hasLogged(message: string, times: number, withinMs: number): Promise<boolean>;
  resources(): Resources;
  /** Bytes of the heap in use, after a collection. */
  heapBytes(): Promise<number>;
  /** SIGTERM; gives the exit code, null where it had to be killed. */
  end(): Promise<number | null>;
}

const endWithinMs = 15_000;

/** Starts the program as the generated units do. @param onEnd called when it ends without having been asked to */
export function startPlugin(flags: readonly string[], onEnd: (how: string) => void): Plugin {
  const child = spawn(
    process.execPath,
    [nodeOptions, "--inspect=127.0.0.1:0", dist, ...flags, "--log-format", "json"],
    {
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: process.env["PATH"] },
    },
  );
  const pid = child.pid ?? 0;
  const messages = new Map<string, number>();
  const unexpected: string[] = [];
  const waiting = new Set<() => void>();
  const inspector = Promise.withResolvers<string>();
  let isEnding = false;
  createInterface({ input: child.stderr }).on("line", (line) => {
    const url = inspectorLine.exec(line)?.[1];
    if (url !== undefined) inspector.resolve(url);
    const message = messageOf(line);
    messages.set(message, (messages.get(message) ?? 0) + 1);
    if (message.startsWith("an unexpected failure") || message === "Node warns") unexpected.push(line);
    for (const wake of waiting) wake();
  });
  child.once("exit", (code, signal) => {
    if (!isEnding) onEnd(`the process ended by itself: code ${String(code)}, signal ${String(signal)}`);
  });

  const logged = (message: string): number => {
    let times = 0;
    for (const [text, count] of messages) if (text.startsWith(message)) times += count;
    return times;
  };
  return {
    child,
    logged,
    unexpected,
    hasLogged(message, times, withinMs) {
      return new Promise((resolve) => {
        const look = (): void => {
          if (logged(message) > times) done(true);
        };
        const timer = setTimeout(() => done(false), withinMs);
        const done = (found: boolean): void => {
          clearTimeout(timer);
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      });
    },
    resources: () => ({
      residentBytes: residentBytes(pid),
      files: readdirSync(`/proc/${pid}/fd`).length,
    }),
    async heapBytes() {
      const heap = await connectHeap(await inspector.promise);
      const used = await heap.usedBytes();
      heap.close();
      return used;
    },
    async end() {
      isEnding = true;
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), endWithinMs);
      await ended;
      clearTimeout(late);
      return child.exitCode;
    },
  };
}

/** The message of a line, without the cost of reading the whole of it a thousand times a second. */
function messageOf(line: string): string {
  return /"msg":"((?:[^"\\]|\\.)*)"/.exec(line)?.[1] ?? "a line that is no JSON";
}

/** The built program as a process, with what can be seen of it from outside: log, metrics, end, memory, open files. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeOptions } from "../../src/cli/config/output.ts";
import { residentBytes } from "../bench/processes.ts";
import { connectHeap } from "./heap.ts";
import { clockMs } from "./messages.ts";

const dist = path.join(import.meta.dirname, "../../dist/okms-k8s-encryption-provider.js");

/** What a process holds at one moment. */
export interface Resources {
  readonly residentBytes: number;
  readonly files: number;
}

const prefix = "okms_encryption_provider_";
const lookMs = 20;
const inspectorLine = /^Debugger listening on (ws:\S+)$/;

/** See above. */
export interface Plugin {
  readonly child: ChildProcess;
  /** Lines of the log about what nobody caught, and Node's warnings: there must be none. */
  readonly unexpected: readonly string[];
  /** The sum of the samples of a metric whose labels include these, as `outcome="ok"`; the name is without its prefix. */
  metric(name: string, ...labels: readonly string[]): Promise<number>;
  /** Resolves once `isTrue` has; false after `withinMs`. */
  becomes(isTrue: () => Promise<boolean>, withinMs: number): Promise<boolean>;
  resources(): Resources;
  /** Bytes of the heap in use, after a collection. */
  heapBytes(): Promise<number>;
  /** SIGTERM; gives the exit code, null where it had to be killed. */
  end(): Promise<number | null>;
}

// The log folds what repeats: what is to be counted is read from the metrics.
const ownFlags = ["--log-format", "json", "--http-addr", "127.0.0.1:0"];
const endWithinMs = 15_000;

/** Starts the program as the generated units do. @param onEnd called when it ends without having been asked to */
export function startPlugin(flags: readonly string[], onEnd: (how: string) => void): Plugin {
  const child = spawn(
    process.execPath,
    [...nodeOptions, "--inspect=127.0.0.1:0", dist, ...flags, ...ownFlags],
    {
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: process.env["PATH"] },
    },
  );
  const pid = child.pid ?? 0;
  const unexpected: string[] = [];
  const http = Promise.withResolvers<string>();
  const inspector = Promise.withResolvers<string>();
  let isEnding = false;
  createInterface({ input: child.stderr }).on("line", (line) => {
    const url = inspectorLine.exec(line)?.[1];
    if (url !== undefined) inspector.resolve(url);
    const message = fieldOf(line, "msg");
    if (message === "the HTTP endpoint listens") http.resolve(fieldOf(line, "address"));
    if (message.startsWith("an unexpected failure") || message === "Node warns") unexpected.push(line);
  });
  const kill = (): boolean => child.kill("SIGKILL");
  process.once("exit", kill);
  child.once("exit", (code, signal) => {
    process.off("exit", kill);
    if (!isEnding) onEnd(`the process ended by itself: code ${String(code)}, signal ${String(signal)}`);
  });

  return {
    child,
    unexpected,
    async metric(name, ...labels) {
      const reply = await fetch(`http://${await http.promise}/metrics`);
      return sumOf(await reply.text(), prefix + name, labels);
    },
    async becomes(isTrue, withinMs) {
      for (const until = clockMs() + withinMs; clockMs() < until; await sleep(lookMs))
        if (await isTrue()) return true;
      return false;
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

/** A field of a line, without the cost of reading the whole of it a thousand times a second. */
function fieldOf(line: string, name: string): string {
  return new RegExp(`"${name}":"((?:[^"\\\\]|\\\\.)*)"`).exec(line)?.[1] ?? "";
}

/** Reads the text that Prometheus reads. */
function sumOf(text: string, name: string, labels: readonly string[]): number {
  const samples = text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return samples
    .filter((line) => labels.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

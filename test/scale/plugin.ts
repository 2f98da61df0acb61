/**
 * A plugin from dist/ as kube-apiserver has one beside it, and what can be seen of its work: calls and failures by its
 * own metrics, the time of each call by its log at level debug, CPU and memory by /proc.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { nodeOptions } from "../../src/cli/config/output.ts";
import { ended } from "../apiserver/server.ts";
import { type Caller, connectCaller } from "../support/caller.ts";
import { type LoggedCall, type Look, lookAt, type Work, workBetween } from "./work.ts";

/** The built program. */
export const dist = path.join(import.meta.dirname, "../../dist/okms-k8s-encryption-provider.js");

/** See the file's head. */
export interface Plugin {
  /** A client of its socket. */
  readonly caller: Caller;
  /** The page of metrics is made once a second at most: two looks within a second see the same. */
  look(): Promise<Look>;
  work(from: Look, to: Look): Work;
  /** Ends it with SIGTERM, and waits. @returns its exit code */
  end(): Promise<number | null>;
}

/** Starts it, and waits for the first Status that says ok. Its log goes to `folder`. */
export async function startPlugin(
  sock: string,
  flags: readonly string[],
  folder: string,
  onEnd: (how: string) => void,
): Promise<Plugin> {
  const own = ["--sock", sock, "--log-level", "debug", "--log-format", "json", "--http-addr", "127.0.0.1:0"];
  const child = spawn(process.execPath, [...nodeOptions, dist, ...flags, ...own], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: process.env["PATH"] },
  });
  let isEnding = false;
  child.once("exit", (code, signal) => {
    if (!isEnding) onEnd(`the plugin ended by itself: code ${String(code)}, signal ${String(signal)}`);
  });
  child.stderr.pipe(createWriteStream(path.join(folder, "plugin.log")));
  const log = readLog(child);
  await log.listening;
  const caller = await connectCaller(sock);
  const { healthz } = await caller.status();
  if (healthz !== "ok") throw new Error(`the plugin says ${healthz}`);
  const address = await log.httpAddress;
  return {
    caller,
    look: async () => {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error("a plugin has ended");
      const reply = await fetch(`http://${address}/metrics`);
      return lookAt(child.pid ?? 0, await reply.text());
    },
    work: (from, to) => workBetween(from, to, log.calls),
    async end() {
      isEnding = true;
      // It does not wait for an answer: the plugin may have ended already.
      caller.leave();
      await ended(child);
      return child.exitCode;
    },
  };
}

interface Log {
  readonly listening: Promise<void>;
  /** Of the page of metrics. */
  readonly httpAddress: Promise<string>;
  /** Grows with each call that is answered. */
  readonly calls: readonly LoggedCall[];
}

/** Reads the log as it is written; both promises reject where the process ends before. */
function readLog(child: ChildProcess): Log {
  const calls: LoggedCall[] = [];
  const listening = Promise.withResolvers<void>();
  const http = Promise.withResolvers<string>();
  for (const { promise, reject } of [listening, http]) {
    promise.catch(() => undefined);
    child.once("exit", () => reject(new Error("the plugin ended before it listened")));
  }
  if (child.stderr !== null)
    createInterface({ input: child.stderr }).on("line", (text) => {
      const line = parseLine(text);
      if (line["msg"] === "listening") listening.resolve();
      if (line["msg"] === "the HTTP endpoint listens") http.resolve(String(line["address"]));
      if (line["msg"] === "call answered")
        calls.push({
          at: Date.parse(String(line["time"])),
          method: String(line["method"]),
          ms: Number(line["ms"]),
        });
    });
  return { listening: listening.promise, httpAddress: http.promise, calls };
}

function parseLine(text: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}

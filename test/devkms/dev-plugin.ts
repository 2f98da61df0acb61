/**
 * The plugin as a child process of `npm run dev`, from its source: started, waited for, ended; and what an earlier run
 * that was killed has left behind.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";

const checkout = path.resolve(import.meta.dirname, "../..");
/** Longest output that is kept until somebody wants to see it. */
const maxKeptOutput = 64 * 1024;

/** The plugin, running. */
export interface DevPlugin {
  /** Resolves when it has ended, with its exit code (null: by a signal). */
  readonly ended: Promise<number | null>;
  /** Resolves once something answers on the socket. Rejects where the plugin ends before. */
  listening(): Promise<void>;
  /** Everything that it has written, and from now on what it writes, goes to `write`. */
  follow(write: (text: string) => void): void;
  /** Ends it as systemd would, and waits for it. */
  stop(): Promise<void>;
}

/** Without OKMS_*: what is set for another plugin must not change this one. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("OKMS_")));
}

function answers(socketPath: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = net.connect({ path: socketPath });
  socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}

/** What the kernel knows of a process; empty where there is none, or no /proc. */
function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

interface Pids {
  readonly dev: number;
  readonly plugin: number;
}

function readPids(file: string): Pids | undefined {
  try {
    const { dev, plugin } = JSON.parse(readFileSync(file, "utf8")) as Partial<Pids>;
    return Number.isInteger(dev) && Number.isInteger(plugin)
      ? { dev: Number(dev), plugin: Number(plugin) }
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Ends the plugin of a run that was killed, for it would keep the socket. Only one that has this socket on its command
 * line: process ids are given out again.
 * @throws Error where the other run goes on
 */
export async function endOrphan(pidFile: string, socketPath: string): Promise<void> {
  const pids = readPids(pidFile);
  if (pids === undefined || !commandLine(pids.plugin).includes(socketPath)) return;
  if (commandLine(pids.dev).includes("dev.ts"))
    throw new Error(`\`npm run dev\` runs already in this checkout (process ${pids.dev}): end it first`);
  process.kill(pids.plugin, "SIGTERM");
  while (commandLine(pids.plugin) !== "") await wait(20);
}

/** Starts the plugin from its source with this command line, with the process ids noted in `pidFile`. */
export function startDevPlugin(args: readonly string[], socketPath: string, pidFile: string): DevPlugin {
  const child: ChildProcess = spawn(process.execPath, [path.join(checkout, "src/main.ts"), ...args], {
    cwd: checkout,
    env: environment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  writeFileSync(pidFile, JSON.stringify({ dev: process.pid, plugin: child.pid }));
  let kept = "";
  let write = (text: string): void => {
    kept = `${kept}${text}`.slice(-maxKeptOutput);
  };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => write(text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => write(text));
  const ended = once(child, "close").then(([code]: (number | null)[]) => {
    rmSync(pidFile, { force: true });
    return code ?? null;
  });
  return {
    ended,
    async listening() {
      while (!(await answers(socketPath))) {
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error("the plugin has ended; what it said is above");
        await wait(20);
      }
    },
    follow(target) {
      target(kept);
      write = target;
    },
    async stop() {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

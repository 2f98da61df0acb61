/** The program as a process: the built file, or the source as `npm run dev` runs it. Nothing of this process's environment reaches it. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";

const root = path.join(import.meta.dirname, "../..");

/** What can be run: `npm run build`'s file, and the source. */
export const programs = {
  built: path.join(root, "dist/okms-k8s-encryption-provider.js"),
  source: path.join(root, "src/main.ts"),
} as const;

/** How a process is started. */
export interface ProgramOptions {
  readonly program?: keyof typeof programs;
  /** A copy of the built one, in place of it. */
  readonly file?: string;
  /** Beside PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>;
  /** Most files that it may have open (ulimit -n). Default: as this process. */
  readonly maxOpenFiles?: number;
}

/** A process under way. */
export interface Program {
  readonly pid: number;
  /** All that it has written so far. */
  stdout(): string;
  stderr(): string;
  /** The lines of stderr so far that are JSON. */
  log(): LogLine[];
  /** Resolves with the first line of the log, written or to come, that has this message; or with the `nth`. */
  untilLogged(message: string | RegExp, nth?: number): Promise<LogLine>;
  kill(signal: NodeJS.Signals): void;
  /** Stops reading its log: what it writes from now on is EPIPE. */
  closeStderr(): void;
  /** Resolves when it has ended. */
  readonly ended: Promise<Ended>;
}

/** One JSON line of the log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string; readonly level: string };

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the program. What the test leaves running is killed at its end. */
export function startProgram(t: TestContext, args: readonly string[], options: ProgramOptions = {}): Program {
  const file = options.file ?? programs[options.program ?? "built"];
  if (!existsSync(file)) throw new Error(`${file} is missing: run \`npm run build\``);
  const env = { PATH: process.env["PATH"], HOME: process.env["HOME"], ...options.env };
  const command = [process.execPath, file, ...args];
  const [executable, ...rest] =
    options.maxOpenFiles === undefined
      ? command
      : ["bash", "-c", `ulimit -n ${options.maxOpenFiles}; exec "$@"`, "bash", ...command];
  const child = spawn(executable ?? "", rest, { env, stdio: ["ignore", "pipe", "pipe"] });
  const texts = { stdout: "", stderr: "" };
  const waiting = new Set<() => void>();
  let hasEnded = false;
  const wake = (): void => {
    for (const resolve of waiting) resolve();
    waiting.clear();
  };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (text: string) => {
      texts[name] += text;
      wake();
    });
  const ended = new Promise<Ended>((resolve) => {
    child.once("close", (code, signal) => {
      hasEnded = true;
      wake();
      resolve({ code, signal, ...texts });
    });
  });
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const log = (): LogLine[] => parseLog(texts.stderr);
  return {
    pid: child.pid ?? 0,
    stdout: () => texts.stdout,
    stderr: () => texts.stderr,
    log,
    async untilLogged(message, nth = 1) {
      for (;;) {
        const found = log().filter((line) => isMatch(line.msg, message))[nth - 1];
        if (found !== undefined) return found;
        if (hasEnded) throw new Error(`ended without a line ${String(message)}:\n${texts.stderr}`);
        await new Promise<void>((resolve) => {
          waiting.add(resolve);
        });
      }
    },
    kill: (signal) => void child.kill(signal),
    closeStderr: () => child.stderr.destroy(),
    ended,
  };
}

/** Runs the program to its end. */
export function runProgram(
  t: TestContext,
  args: readonly string[],
  options?: ProgramOptions,
): Promise<Ended> {
  return startProgram(t, args, options).ended;
}

function parseLog(text: string): LogLine[] {
  const whole = text.split("\n").slice(0, -1);
  return whole.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as LogLine);
}

function isMatch(text: string, wanted: string | RegExp): boolean {
  return typeof wanted === "string" ? text === wanted : wanted.test(text);
}

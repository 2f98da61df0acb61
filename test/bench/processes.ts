/**
 * The processes that a benchmark needs, each on its own as in production: the embedded KMS with relays before
 * it, the plugin from dist/, and the server with an encryptor that does nothing.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { nodeOptions } from "../../src/cli/config/output.ts";
import { connectCaller, type Caller } from "../support/caller.ts";

const here = import.meta.dirname;
const dist = path.join(here, "../../dist/okms-k8s-encryption-provider.js");

/** A process under way. */
export interface Running {
  readonly child: ChildProcess;
  /** Ends it with SIGTERM and waits. */
  stop(): Promise<void>;
}

function running(child: ChildProcess): Running {
  return {
    child,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
    },
  };
}

/** A script of this folder under way. */
interface Script<T> extends Running {
  readonly ready: T;
  /** Writes a line to it and waits for the line it answers. */
  tell(command: string): Promise<void>;
}

/** Starts a script of this folder and waits for the one JSON line that says it is ready. */
async function startScript<T>(
  script: string,
  args: readonly string[],
  nodeFlags: readonly string[] = [],
): Promise<Script<T>> {
  const child = spawn(process.execPath, [...nodeFlags, path.join(here, script), ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout });
  const line = await Promise.race([
    once(lines, "line").then(([text]) => text as string),
    once(child, "exit").then(([code]) => {
      throw new Error(`${script} ended with ${String(code)} before it was ready`);
    }),
  ]);
  const tell = async (command: string): Promise<void> => {
    const answered = once(lines, "line");
    child.stdin.write(`${command}\n`);
    await answered;
  };
  return { ...running(child), ready: JSON.parse(line) as T, tell };
}

/** What kms-process.ts says when it is ready. */
export interface KmsReady {
  /** Address of the KMIP face, by the delay of the relay before it; "0" is without a relay. */
  readonly kmip: Readonly<Record<string, string>>;
  /** URL of the REST face by HTTP version, then by delay. */
  readonly rest: Readonly<Record<"http1" | "http2", Readonly<Record<string, string>>>>;
  readonly okmsId: string;
  readonly label: string;
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** The embedded KMS under way. */
export type Kms = Script<KmsReady>;

/** Starts the embedded KMS with a key, and relays that add a round trip of each of `roundTripsMs`. */
export const startKms = (roundTripsMs: readonly number[]): Promise<Kms> =>
  startScript<KmsReady>("kms-process.ts", roundTripsMs.map(String));

/** Starts the plugin's server with an encryptor that does nothing, on `sock`; with Node's options as the plugin's. */
export const startDoNothing = (sock: string): Promise<Running> =>
  startScript<unknown>("do-nothing-process.ts", [sock], nodeOptions);

/** A plugin from dist/ that has said ok. Times in ms since it was started. */
export interface Plugin extends Running {
  readonly caller: Caller;
  readonly listeningMs: number;
  readonly firstOkMs: number;
  /** Resident set, in bytes. */
  residentBytes(): number;
}

/** Resident set of a process, in bytes. Linux only: reads /proc. */
export function residentBytes(pid: number): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(match?.[1] ?? Number.NaN) * 1024;
}

/**
 * Starts the plugin from dist/ on `sock` and waits for the first Status that says ok. Node's options are those of
 * the generated units, unless told otherwise.
 */
export async function startPlugin(
  sock: string,
  flags: readonly string[],
  nodeFlags: readonly string[] = nodeOptions,
): Promise<Plugin> {
  const began = performance.now();
  const child = spawn(
    process.execPath,
    [...nodeFlags, dist, "--sock", sock, "--log-level", "error", ...flags],
    {
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  const pid = child.pid;
  if (pid === undefined) throw new Error("the plugin did not start");
  let caller: Caller | undefined;
  while (caller === undefined) {
    if (child.exitCode !== null) throw new Error(`the plugin ended with ${child.exitCode}`);
    caller = await connectCaller(sock).catch(() => undefined);
    if (caller === undefined) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const listeningMs = performance.now() - began;
  const { healthz } = await caller.status();
  if (healthz !== "ok") throw new Error(`the plugin says ${healthz}`);
  const firstOkMs = performance.now() - began;
  return { ...running(child), caller, listeningMs, firstOkMs, residentBytes: () => residentBytes(pid) };
}

/** The flags that both protocols take. */
const commonFlags = ({ ready }: Kms): string[] =>
  Object.entries({
    "--encryption-key-label": ready.label,
    "--client-cert": ready.cert,
    "--client-key": ready.key,
    "--ca": ready.ca,
  }).flat();

/** The plugin's flags for the KMIP face of `kms` behind the relay of `roundTripMs`. */
export function kmipFlags(kms: Kms, roundTripMs: number): string[] {
  const address = kms.ready.kmip[String(roundTripMs)] ?? "";
  return ["--protocol", "kmip", "--serv-addr", address, ...commonFlags(kms)];
}

/** The plugin's flags for the REST face of `kms` behind the relay of `roundTripMs`. */
export function restFlags(kms: Kms, http: "http1" | "http2", roundTripMs: number): string[] {
  const url = kms.ready.rest[http][String(roundTripMs)] ?? "";
  const own = ["--protocol", "rest", "--serv-addr", url, "--okms-id", kms.ready.okmsId];
  return [...own, ...commonFlags(kms)];
}

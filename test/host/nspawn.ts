/**
 * A Debian host with its own systemd, in a container of systemd-nspawn: made by mmdebstrap once and kept in .host/, copied
 * for each run. It shares this machine's loopback interface, so that the KMS of the tests is in its reach.
 */
import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  globSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const kept = path.resolve(import.meta.dirname, "../../.host");

/** What a command came to. */
export interface Ran {
  readonly code: number;
  /** Both streams, in the order of writing. */
  readonly output: string;
}

/** A host that is up. */
export interface Host {
  /** Its file system, from outside. */
  readonly root: string;
  /** A folder that has the same path inside and outside. */
  readonly shared: string;
  /** Process id of its init, from outside. */
  readonly init: number;
  /** Runs a shell command in it, as root. */
  run(command: string): Promise<Ran>;
  /** The same, for a command that has to end with 0. @returns its output. @throws where it does not */
  must(command: string): Promise<string>;
  /** Shuts down, and boots again. */
  reboot(): Promise<void>;
  /** Shuts down for good, and removes what it was. */
  close(): Promise<void>;
}

/** Debian's packages beyond its minimum: systemd, what the .deb depends on, as `apt install ./FILE` would fetch it, and rpm. */
const packages = "systemd,systemd-sysv,dbus,iproute2,procps,libatomic1,libstdc++6,rpm";

function makeRoot(suite: string): string {
  const hash = createHash("sha256").update(packages).digest("hex").slice(0, 8);
  const archive = path.join(kept, `${suite}-${hash}.tar`);
  if (existsSync(archive)) return archive;
  mkdirSync(kept, { recursive: true });
  const fresh = `${archive}.partial.tar`;
  const args = ["--quiet", "--variant=minbase", `--include=${packages}`, suite, fresh];
  execFileSync("mmdebstrap", args, { stdio: "inherit" });
  renameSync(fresh, archive);
  return archive;
}

/**
 * Makes a host in `folder`, and boots it.
 * @param suite of Debian, as `bookworm`
 */
export async function startHost(folder: string, suite: string): Promise<Host> {
  const root = path.join(folder, "root");
  mkdirSync(root, { recursive: true });
  execFileSync("tar", ["-xpf", makeRoot(suite), "-C", root, "--numeric-owner"]);
  const shared = path.join(folder, "shared");
  mkdirSync(shared, { recursive: true });
  let booted = await boot(folder, root, suite);

  const run = (command: string): Promise<Ran> => {
    const namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/root"];
    const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    const env = ["env", "-i", searchPath, "HOME=/root", "LC_ALL=C.UTF-8"];
    const shell = ["bash", "-c", `exec 2>&1; ${command}`];
    return runProgram("nsenter", [`--target=${booted.init}`, ...namespaces, ...env, ...shell]);
  };
  const shutDown = async (): Promise<void> => {
    await run("systemctl poweroff --no-wall");
    const forced = setTimeout(() => booted.container.kill("SIGKILL"), 60_000);
    if (booted.container.exitCode === null) await once(booted.container, "exit");
    clearTimeout(forced);
    removeGroups();
  };
  return {
    root,
    shared,
    get init() {
      return booted.init;
    },
    run,
    async must(command) {
      const { code, output } = await run(command);
      if (code !== 0) throw new Error(`${command} ended with ${code}:\n${output}`);
      return output;
    },
    async reboot() {
      await shutDown();
      booted = await boot(folder, root, suite);
      await isUp(run);
    },
    async close() {
      await shutDown();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

interface Booted {
  readonly container: ChildProcess;
  readonly init: number;
}

async function boot(folder: string, root: string, suite: string): Promise<Booted> {
  const console = openSync(path.join(folder, "console.log"), "a");
  const args = [
    "--register=no",
    "--keep-unit",
    "--boot",
    `--directory=${root}`,
    `--bind=${path.join(folder, "shared")}`,
  ];
  // systemd 257 knows the unified hierarchy of control groups alone.
  const env = { ...process.env, ...(suite === "trixie" && { SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1" }) };
  const stdio = ["ignore", console, console] as const;
  const container = spawn("systemd-nspawn", args, { env, stdio: [...stdio], detached: true });
  const children = `/proc/${container.pid}/task/${container.pid}/children`;
  for (let waited = 0; waited < 60_000; waited += 50) {
    if (container.exitCode !== null) break;
    const init = Number(/^\d+/.exec(readFileSync(children, "utf8"))?.[0] ?? 0);
    if (init > 0 && existsSync(`/proc/${init}/root/run/systemd/private`)) {
      await isUp((command) => runProgram("nsenter", [`--target=${init}`, "--all", "sh", "-c", command]));
      return { container, init };
    }
    await sleep(50);
  }
  throw new Error(
    `the host did not boot: ${readFileSync(path.join(folder, "console.log"), "utf8").slice(-2000)}`,
  );
}

async function isUp(run: (command: string) => Promise<Ran>): Promise<void> {
  for (let waited = 0; waited < 60_000; waited += 100) {
    if (/^(?:running|degraded)$/m.test((await run("systemctl is-system-running")).output)) return;
    await sleep(100);
  }
  throw new Error("the host did not come up");
}

/** Not synchronously: the KMS that the host calls is in this process. */
function runProgram(file: string, args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    const child = spawn(file, args, { stdio: ["ignore", "pipe", "ignore"] });
    const parts: string[] = [];
    child.stdout.setEncoding("utf8").on("data", (part: string) => parts.push(part));
    child.on("error", (error) => resolve({ code: 127, output: error.message }));
    child.on("close", (code) => resolve({ code: code ?? 1, output: parts.join("") }));
  });
}

/** nspawn leaves its control groups; depth first. */
function removeGroups(): void {
  const left = globSync("/sys/fs/cgroup/*/{payload,supervisor}/**/").toSorted((a, b) => b.length - a.length);
  for (const group of left) {
    try {
      rmdirSync(group);
    } catch {
      // Another container's, or gone already.
    }
  }
}

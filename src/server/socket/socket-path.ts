/**
 * Whether a Unix socket may be put at a path: one function decides for `serve` and `check`. It reads and connects, and
 * changes nothing; making a parent folder that is missing is apart. Every refusal is SOCKET and says what to do.
 */
import { constants, type Stats } from "node:fs";
import { access, lstat, open, readFile, readlink, realpath, stat, statfs } from "node:fs/promises";
import { connect } from "node:net";
import path from "node:path";
import { ProviderError } from "../../errors.ts";
import { shellWord } from "../../text/quote.ts";
import { makeFolder } from "../../process/make-folder.ts";

/** Longest path of a Unix socket on Linux, in bytes: sun_path without its final NUL (unix(7)). */
export const maxSocketPathBytes = 107;

const folderMode = 0o750;
const othersMayWrite = 0o002;
const othersMayAnything = 0o007;
const groupMayWrite = 0o020;
const stickyBit = 0o1000;

/** What identifies a file, and does not change when it is renamed. */
export interface FileIdentity {
  readonly dev: number;
  readonly ino: number;
}

/** What was found at a path. */
export type Found =
  | { readonly kind: "nothing" | "folder" | "other" }
  | { readonly kind: "socket"; readonly identity: FileIdentity };

/** What a connection to a socket met: a listening process, a refusal (its process is gone), or neither. */
export type Listener = "listening" | "refused" | "unknown";

/** A path that cannot be used. The message says what is wrong, and then what to do. */
export class SocketPathError extends ProviderError {
  override readonly name = "SocketPathError";
  /** What is wrong. */
  readonly what: string;
  /** What to do. */
  readonly advice: string;

  constructor(what: string, advice: string, cause?: unknown) {
    super("SOCKET", `${what}: ${advice}`, { cause });
    this.what = what;
    this.advice = advice;
  }
}

/** What a socket is to be. */
export interface SocketRequest {
  /** Absolute path. */
  readonly path: string;
  /** Group of the file, by name or number; undefined: the process's own. */
  readonly group?: string | undefined;
  /** Accept a folder that others may write to (--sock-insecure-dir). Default: false. */
  readonly insecureDir?: boolean | undefined;
  /** systemd creates the socket: this process need not be able to. Default: false. */
  readonly isUnit?: boolean | undefined;
}

/**
 * What is at the path: `free`, nothing; `stale`, a socket whose process has ended; `occupied`, a socket on which another
 * process listens; `unknown`, one of which that cannot be found out. The last two need --replace.
 */
export type SocketState = "free" | "stale" | "occupied" | "unknown";

/** What was decided about a path. */
export interface SocketDecision {
  readonly state: SocketState;
  /** Number of the group; undefined: the process's own. */
  readonly gid: number | undefined;
}

/**
 * Decides whether this process can put its socket at a path: its length, the group, the folder or the nearest one above
 * that exists, and what is at the path.
 * @throws SocketPathError where it cannot
 */
export async function decideSocketPath(request: SocketRequest): Promise<SocketDecision> {
  const { path: file, group, insecureDir, isUnit = false } = request;
  checkPathLength(file);
  const gid = group === undefined ? undefined : await groupId(group);
  if (gid !== undefined && !isUnit) await checkMembership(gid, group ?? "");
  const exists = await checkFolder(folderOf(file), insecureDir === true, isUnit);
  return { state: exists ? await stateOf(file) : "free", gid };
}

/** The refusal of a state that needs --replace. */
export function occupiedError(file: string, state: SocketState): SocketPathError {
  return state === "unknown"
    ? new SocketPathError(
        `cannot find out whether a process listens on ${file}`,
        "remove the file, or replace it with --replace",
      )
    : new SocketPathError(`another process listens on ${file}`, "stop it, or replace it with --replace");
}

async function stateOf(file: string): Promise<SocketState> {
  const found = await lookAt(file);
  if (found.kind === "nothing") return "free";
  if (found.kind === "folder")
    throw new SocketPathError(`${file} is a folder`, "add the name of a file to --sock");
  if (found.kind === "other")
    throw new SocketPathError(`${file} exists and is not a socket`, "remove it, or choose another --sock");
  const listener = await probeListener(file);
  if (listener === "refused") return "stale";
  return listener === "listening" ? "occupied" : "unknown";
}

/** Whether the folder exists; where it does not, the nearest one above is checked. @throws SocketPathError */
async function checkFolder(folder: string, insecureDir: boolean, isUnit: boolean): Promise<boolean> {
  try {
    if (!(await stat(folder)).isDirectory())
      throw new SocketPathError(`${folder} is not a folder`, "choose another --sock");
    if (!insecureDir) await refuseExposed(folder);
    if (!isUnit) await access(folder, constants.W_OK | constants.X_OK);
    await refuseFileSystem(folder);
    return true;
  } catch (error) {
    if (error instanceof SocketPathError) throw error;
    if (isErrno(error, "ENOENT")) {
      await refuseDanglingLink(folder);
      // What is made below it is this process's own.
      await checkFolder(path.dirname(folder), true, isUnit);
      return false;
    }
    throw folderError(folder, error);
  }
}

/** Those of the kernel, by their magic number (statfs(2)): nobody can make a file there, whatever access(2) says. */
const kernelFileSystems: ReadonlySet<number> = new Set([
  0x9fa0, // proc
  0x62656572, // sysfs
  0x63677270, // cgroup2
]);

async function refuseFileSystem(folder: string): Promise<void> {
  const { type, files, ffree } = await statfs(folder);
  if (kernelFileSystems.has(type))
    throw new SocketPathError(
      `${folder} belongs to the kernel: no socket can be made there`,
      "choose another --sock",
    );
  // Some file systems do not count their files.
  if (files > 0 && ffree === 0)
    throw new SocketPathError(
      `the file system of ${folder} has no room for another file`,
      "remove some, or choose another --sock",
    );
}

function folderError(folder: string, error: unknown): SocketPathError {
  if (isErrno(error, "EROFS"))
    return new SocketPathError(`the file system of ${folder} is read-only`, "choose another --sock");
  if (isErrno(error, "ENOTDIR"))
    return new SocketPathError(`a part of ${folder} is not a folder`, "choose another --sock");
  if (isErrno(error, "ELOOP"))
    return new SocketPathError(`${folder} is a symbolic link that leads to itself`, "choose another --sock");
  if (isErrno(error, "EACCES") || isErrno(error, "EPERM"))
    return new SocketPathError(
      `uid ${process.geteuid?.() ?? "unknown"} may not create a file in ${folder}`,
      "choose a folder of its own; where systemd creates the socket (config systemd), run check as root with --user",
      error,
    );
  return new SocketPathError(`${folder} cannot be used: ${reasonOf(error)}`, "choose another --sock", error);
}

/** A link that leads nowhere is not a missing folder: mkdir(2) refuses its name. */
async function refuseDanglingLink(folder: string): Promise<void> {
  const target = await readlink(folder).catch(() => undefined);
  if (target === undefined) return;
  throw new SocketPathError(
    `${folder} is a symbolic link to ${target}, which does not exist`,
    "create that folder, or choose another --sock",
  );
}

/** Giving a file to a group takes membership in it, or CAP_CHOWN. */
async function checkMembership(gid: number, group: string): Promise<void> {
  if (process.getegid?.() === gid || process.getgroups?.().includes(gid) === true) return;
  if (await hasCapability(0)) return;
  throw new SocketPathError(
    `the socket cannot be given to group ${group}`,
    `run as a member of it (uid ${process.geteuid?.() ?? "unknown"} is not, and has no CAP_CHOWN)`,
  );
}

/** Whether this process has a capability (capabilities(7)), by its bit. True where /proc does not show it. */
async function hasCapability(bit: number): Promise<boolean> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const effective = /^CapEff:\s*([\da-f]+)$/m.exec(status)?.[1];
  return effective === undefined || (BigInt(`0x${effective}`) & (1n << BigInt(bit))) !== 0n;
}

async function refuseExposed(folder: string): Promise<void> {
  const exposed = await exposedFolder(folder);
  if (exposed === undefined) return;
  throw new SocketPathError(
    `others may write to the folder ${exposed}, and so replace the socket by their own`,
    `run chmod o-w ${shellWord(exposed)}, choose a folder of mode 0750 below it, or accept that with --sock-insecure-dir`,
  );
}

/** A refusal to use the socket, with the reason and what to do. */
export function socketError(message: string, cause?: unknown): ProviderError {
  return new ProviderError("SOCKET", message, { cause });
}

/** @throws SOCKET where the path, or one beside it, would be cut by the kernel */
export function checkPathLength(file: string): void {
  const length = Buffer.byteLength(file);
  if (length > maxSocketPathBytes) {
    throw new SocketPathError(
      `the socket path has ${length} bytes, and Linux allows ${maxSocketPathBytes}`,
      "choose a shorter --sock",
    );
  }
}

/**
 * Makes the socket's folder, and those above it, where they are missing: 0750 whatever the umask.
 * @param gid the group that the socket is for, and that must come through to it.
 * @param insecureDir accept a folder that others may write to. Default: false.
 * @throws SOCKET where it cannot be made, is no folder, or any user may replace the files in it or in one above it
 */
export async function prepareFolder(folder: string, gid?: number, insecureDir = false): Promise<void> {
  try {
    const first = await makeFolder(folder, folderMode);
    if (first !== undefined)
      for (let made = path.resolve(folder); made.length >= first.length; made = path.dirname(made))
        await adjust(made, gid);
  } catch (error) {
    throw new SocketPathError(
      `cannot create the socket's folder ${folder}: ${reasonOf(error)}`,
      "choose another --sock",
      error,
    );
  }
  if (!insecureDir) await refuseExposed(folder);
}

/**
 * Of a folder and those above it the one in which others may replace files; undefined: none. Not above a folder of this
 * process's own that only its group may enter: so a sidecar can have one in an emptyDir, which is 0777.
 */
export async function exposedFolder(folder: string): Promise<string | undefined> {
  for (let each = await realpath(folder); ; each = path.dirname(each)) {
    const { mode, uid } = await stat(each);
    if ((mode & othersMayWrite) !== 0 && (mode & stickyBit) === 0) return each;
    if (uid === process.geteuid?.() && (mode & (groupMayWrite | othersMayAnything)) === 0) return undefined;
    if (each === path.dirname(each)) return undefined;
  }
}

/** Gives a folder just made its group, and the bits that the umask took; the set-group-ID bit that it inherited stays. */
async function adjust(folder: string, gid: number | undefined): Promise<void> {
  // By its handle: a user who may write to the folder above could have put a link in its place meanwhile.
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const { mode } = await handle.stat();
    if (gid !== undefined) await handle.chown(-1, gid);
    await handle.chmod((mode & 0o7777) | folderMode);
  } finally {
    await handle.close();
  }
}

/** What is at the path. A symbolic link is not followed. @throws SOCKET where it cannot be read */
export async function lookAt(file: string): Promise<Found> {
  let stats: Stats;
  try {
    stats = await lstat(file);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return { kind: "nothing" };
    throw new SocketPathError(
      `cannot read the socket path ${file}: ${reasonOf(error)}`,
      "choose another --sock",
      error,
    );
  }
  if (stats.isDirectory()) return { kind: "folder" };
  if (!stats.isSocket()) return { kind: "other" };
  return { kind: "socket", identity: { dev: stats.dev, ino: stats.ino } };
}

/** Whether two identities are of one file. */
export function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.ino === b.ino && a.dev === b.dev;
}

/** Connects, and disconnects at once. */
export function probeListener(file: string): Promise<Listener> {
  return new Promise((resolve) => {
    const socket = connect({ path: file });
    socket.once("connect", () => {
      socket.destroy();
      resolve("listening");
    });
    socket.once("error", (error) => {
      if (isErrno(error, "ECONNREFUSED") || isErrno(error, "ENOENT")) resolve("refused");
      // The backlog is full: the process listens, and is busy.
      else resolve(isErrno(error, "EAGAIN") ? "listening" : "unknown");
    });
  });
}

/**
 * The number of a group given by name or number. By name it is looked up in /etc/group only: Node has no
 * getgrnam.
 * @throws SOCKET where there is no such group
 */
export async function groupId(group: string): Promise<number> {
  if (/^\d+$/.test(group)) return Number(group);
  const lines = (await readFile("/etc/group", "utf8")).split("\n");
  const id = lines.map((line) => line.split(":")).find(([name]) => name === group)?.[2];
  if (id === undefined) {
    throw new SocketPathError(
      `there is no group ${group} in /etc/group`,
      "give --sock-group one that exists, or its number",
    );
  }
  return Number(id);
}

/** Whether an error of Node's bears this errno. */
export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** An error in a few words, for a message. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The folder of a socket's path. */
export function folderOf(file: string): string {
  return path.dirname(file);
}

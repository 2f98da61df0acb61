/**
 * What is at a Unix socket's path, and whether a socket may be put there. Changes nothing, apart from making a parent
 * folder that is missing; unix-socket.ts acts. Every refusal is SOCKET and says what to do.
 */
import { constants, type Stats } from "node:fs";
import { lstat, mkdir, open, readFile, realpath, stat } from "node:fs/promises";
import { connect } from "node:net";
import path from "node:path";
import { ProviderError } from "../../errors.ts";

/** Longest path of a Unix socket on Linux, in bytes: sun_path without its final NUL (unix(7)). */
export const maxSocketPathBytes = 107;

const folderMode = 0o750;
const othersMayWrite = 0o002;
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

/** A refusal to use the socket, with the reason and what to do. */
export function socketError(message: string, cause?: unknown): ProviderError {
  return new ProviderError("SOCKET", message, { cause });
}

/** @throws SOCKET where the path, or one beside it, would be cut by the kernel */
export function checkPathLength(file: string): void {
  const length = Buffer.byteLength(file);
  if (length > maxSocketPathBytes) {
    throw socketError(
      `the socket path has ${length} bytes, Linux allows ${maxSocketPathBytes}: choose a shorter --sock`,
    );
  }
}

/**
 * Makes the socket's folder, and those above it, where they are missing: 0750 whatever the umask.
 * @param gid the group that the socket is for, and that must come through to it.
 * @throws SOCKET where it cannot be made, is no folder, or any user may replace the files in it or in one above it
 */
export async function prepareFolder(folder: string, gid?: number): Promise<void> {
  try {
    const first = await mkdir(folder, { recursive: true, mode: folderMode });
    if (first !== undefined)
      for (let made = path.resolve(folder); made.length >= first.length; made = path.dirname(made))
        await adjust(made, gid);
  } catch (error) {
    throw socketError(`cannot make the socket's folder ${folder}: ${reasonOf(error)}`, error);
  }
  const exposed = await exposedFolder(folder);
  if (exposed !== undefined)
    throw socketError(
      `others may write to the folder ${exposed}, and so replace the socket by their own: run chmod o-w on it`,
    );
}

/** Of a folder and those above it the one in which others may replace files; undefined: none. */
export async function exposedFolder(folder: string): Promise<string | undefined> {
  for (let each = await realpath(folder); ; each = path.dirname(each)) {
    const { mode } = await stat(each);
    if ((mode & othersMayWrite) !== 0 && (mode & stickyBit) === 0) return each;
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
    throw socketError(`cannot read the socket path ${file}: ${reasonOf(error)}`, error);
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
    throw socketError(
      `there is no group ${group} in /etc/group: give --sock-group one that exists, or its number`,
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

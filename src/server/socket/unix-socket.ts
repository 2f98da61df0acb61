/**
 * The listening Unix socket and its file: bound beside its path and renamed into place, so that there is no moment
 * with a wrong mode or without a listener; made again when it is deleted; given up to a process that takes it over.
 * Also abstract sockets (`@name`) and systemd's (sd_listen_fds(3)), which have no file of ours.
 */
import { randomBytes } from "node:crypto";
import { lchown, rename, unlink } from "node:fs/promises";
import type { Server, Socket } from "node:net";
import { createServer } from "node:net";
import path from "node:path";
import { ProviderError } from "../../errors.ts";
import type { FileIdentity, SocketDecision } from "./socket-path.ts";
import {
  checkPathLength,
  decideSocketPath,
  folderOf,
  isErrno,
  isSameFile,
  lookAt,
  occupiedError,
  prepareFolder,
  reasonOf,
  socketError,
} from "./socket-path.ts";
import { checkRegularly, watchFile, type SocketReach, type WatchEvent } from "./socket-watch.ts";

/** First file descriptor that systemd passes: SD_LISTEN_FDS_START. */
const systemdFd = 3;

/**
 * So many connections wait until they are accepted, if net.core.somaxconn allows it. On a Unix socket one more is refused at
 * once (EAGAIN), and grpc-go tries again a second later. To accept one takes 0.3 ms: under a flood a longer queue would make a
 * client wait longer for the same.
 */
const backlog = 1024;

/** How a socket is listened on. */
export interface UnixSocketOptions {
  /** Path, or `@name` for an abstract socket. */
  readonly path: string;
  /** Permission bits of the file. */
  readonly mode: number;
  /** Group of the file, by name or number; undefined: the process's own. */
  readonly group?: string | undefined;
  /** Take the path over from a process that still answers on it. */
  readonly replace: boolean;
  /** Accept a folder that others may write to. Default: false. */
  readonly insecureDir?: boolean | undefined;
  /** Connections at most: one more is closed as soon as it is accepted. Default: no limit. */
  readonly maxConnections?: number;
  /** Gets each connection. */
  readonly onConnection: (socket: Socket) => void;
  /** Called for what happens after `listenOnSocket` has resolved. Must not throw. */
  readonly onEvent: (event: SocketEvent) => void;
  /** Where systemd's variables are read, and removed. Default: process.env. */
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * `rebound`: the file was gone and is there again. `taken-over`: another process has put its own in place; this
 * one serves the clients that it has, and takes the path back only when no process listens there for 5 s: `taken-back`. `failed`: the
 * file is gone and cannot be made again for now, or not by this process. `recovered`: that is over. `dropped`: a new
 * connection was closed, for there are too many. `accept-failed`: the kernel gave none, for want of files say.
 */
export type SocketEvent =
  | WatchEvent
  | { readonly type: "dropped" }
  | { readonly type: "accept-failed"; readonly error: Error };

/** A socket that is listened on. */
export interface ListeningSocket {
  /** As --sock gives it; Node does not know where systemd bound its own. */
  readonly address: string;
  /** Who bound it. */
  readonly origin: "file" | "abstract" | "systemd";
  /** Where its path leads, as far as is known. */
  readonly reach: SocketReach;
  /** Stops listening and removes the file where it is ours. Connections stay. Idempotent. */
  close(): Promise<void>;
}

/** Listens. @throws SOCKET where the socket cannot be created, with what to do */
export async function listenOnSocket(options: UnixSocketOptions): Promise<ListeningSocket> {
  const passed = passedSockets(options.env ?? process.env);
  if (passed > 1)
    throw socketError(`systemd passed ${passed} sockets: keep one ListenStream= in the socket unit`);
  if (passed === 1) return await listenOnPassed(options);
  if (options.path.startsWith("@")) return await listenOnAbstract(options);
  return await listenOnFile({ ...options, path: path.resolve(options.path) });
}

/** How many sockets systemd passed to this process. Its variables are removed, so that no child process takes them for its own. */
function passedSockets(env: NodeJS.ProcessEnv): number {
  const isForUs = env["LISTEN_PID"] === String(process.pid);
  const count = isForUs ? Number(env["LISTEN_FDS"] ?? 0) : 0;
  if (isForUs) for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete env[name];
  return Number.isInteger(count) ? count : 0;
}

async function listenOnPassed(options: UnixSocketOptions): Promise<ListeningSocket> {
  const server = newServer(options);
  try {
    await listening(server, () => server.listen({ fd: systemdFd, backlog }));
  } catch (error) {
    throw socketError(`the socket that systemd passed cannot be listened on: ${reasonOf(error)}`, error);
  }
  const address = server.address();
  if (address !== null && typeof address === "object") {
    server.close();
    throw socketError("systemd passed a network socket: give ListenStream= in the socket unit a path");
  }
  const { path: file, onEvent } = options;
  const watch = file.startsWith("@") ? undefined : checkRegularly(() => expectAtPath(file), onEvent);
  return {
    address: file,
    origin: "systemd",
    get reach() {
      return watch?.reach ?? "listening";
    },
    async close() {
      await watch?.stop();
      await closed(server);
    },
  };
}

/** systemd made the file, and only systemd can make it again. @throws SOCKET */
async function expectAtPath(file: string): Promise<void> {
  const { kind } = await lookAt(file);
  if (kind !== "socket")
    throw socketError(
      `there is no socket at ${file}, and systemd holds the one that is listened on: restart its socket unit ` +
        "(systemctl restart NAME.socket), or compare its ListenStream= with --sock",
    );
}

async function listenOnAbstract(options: UnixSocketOptions): Promise<ListeningSocket> {
  checkPathLength(options.path);
  const server = newServer(options);
  try {
    await listening(server, () => server.listen({ path: `\0${options.path.slice(1)}`, backlog }));
  } catch (error) {
    if (!isErrno(error, "EADDRINUSE"))
      throw socketError(`cannot listen on ${options.path}: ${reasonOf(error)}`, error);
    throw socketError(
      `another process listens on the abstract socket ${options.path}: stop it (--replace needs a path)`,
      error,
    );
  }
  return { address: options.path, origin: "abstract", reach: "listening", close: () => closed(server) };
}

/** What is bound at the path now. */
interface Bound {
  readonly server: Server;
  readonly identity: FileIdentity;
}

async function listenOnFile(options: UnixSocketOptions): Promise<ListeningSocket> {
  const { gid } = await decideFree(options);
  await prepareFolder(folderOf(options.path), gid, options.insecureDir);
  let bound = await bind(options, gid);

  const watch = watchFile({
    path: options.path,
    isOurs: (identity) => isSameFile(identity, bound.identity),
    onEvent: options.onEvent,
    async rebind() {
      const old = bound.server;
      await prepareFolder(folderOf(options.path), gid, options.insecureDir);
      bound = await bind(options, gid);
      old.close();
    },
  });

  return {
    address: options.path,
    origin: "file",
    get reach() {
      return watch.reach;
    },
    async close() {
      await watch.stop();
      // Whatever became of the folder, the listening ends.
      await removeOwn(options.path, bound.identity).catch(() => undefined);
      await closed(bound.server);
    },
  };
}

async function removeOwn(file: string, identity: FileIdentity): Promise<void> {
  const found = await lookAt(file);
  if (found.kind === "socket" && isSameFile(found.identity, identity)) await unlink(file);
}

/** @throws SOCKET where the path cannot be used, or another process listens there that is not to be replaced */
async function decideFree(options: UnixSocketOptions): Promise<SocketDecision> {
  const decision = await decideSocketPath(options);
  const isTaken = decision.state === "occupied" || decision.state === "unknown";
  if (isTaken && !options.replace) throw occupiedError(options.path, decision.state);
  return decision;
}

/** Binds beside the path with its mode, sets the group, and renames into place: the path never has another mode. */
async function bind(options: UnixSocketOptions, gid: number | undefined): Promise<Bound> {
  // No longer than the path itself, which fits.
  const mostLetters = Math.max(path.basename(options.path).length - 1, 1);
  const letters = randomBytes(4).toString("hex").slice(0, mostLetters);
  const aside = path.join(folderOf(options.path), `.${letters}`);
  checkPathLength(aside);
  const server = newServer(options);
  try {
    await listening(server, () => {
      const before = process.umask(~options.mode & 0o777);
      try {
        server.listen({ path: aside, backlog });
      } finally {
        process.umask(before);
      }
    });
    // Not through a link: a user who may write to the folder could have put one here, to a file of root's.
    if (gid !== undefined) await lchown(aside, -1, gid);
    // Two that are started at once may both have found the path free.
    await decideFree(options);
    const found = await lookAt(aside);
    if (found.kind !== "socket") throw socketError(`the socket was removed while it was made: ${aside}`);
    await rename(aside, options.path);
    return { server, identity: found.identity };
  } catch (error) {
    server.close();
    if (error instanceof ProviderError) throw error;
    throw isErrno(error, "EPERM") && gid !== undefined
      ? socketError(`the socket cannot be given to group ${gid}: run as a member of it, or as root`, error)
      : socketError(`cannot listen on ${options.path}: ${reasonOf(error).replaceAll(aside, options.path)}`);
  }
}

function newServer(options: UnixSocketOptions): Server {
  const server = createServer(options.onConnection);
  if (options.maxConnections !== undefined) server.maxConnections = options.maxConnections;
  server.on("drop", () => {
    options.onEvent({ type: "dropped" });
  });
  server.on("error", (error) => {
    if (server.listening) options.onEvent({ type: "accept-failed", error });
  });
  return server;
}

/** Resolves once the server listens. */
async function listening(server: Server, listen: () => void): Promise<void> {
  const done = Promise.withResolvers<void>();
  server.once("listening", done.resolve);
  server.once("error", done.reject);
  listen();
  await done.promise;
  server.off("error", done.reject);
}

/** Stops listening; connections stay, so their end is not waited for. */
async function closed(server: Server): Promise<void> {
  server.close();
}

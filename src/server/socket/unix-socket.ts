/**
 * The listening Unix socket, and its file over a long life: bound aside and renamed into place, so that there is
 * no moment with a wrong mode or without a listener; made again when it is deleted; given up to a process that
 * takes it over. Also abstract sockets (`@name`) and systemd's (sd_listen_fds(3)), which have no file of ours.
 */
import { randomBytes } from "node:crypto";
import { lchown, rename, unlink } from "node:fs/promises";
import type { Server, Socket } from "node:net";
import { createServer } from "node:net";
import path from "node:path";
import { ProviderError, toProviderError } from "../../errors.ts";
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
  whoAnswers,
} from "./socket-path.ts";

/** Time between two looks at the socket's file, in ms: a file that is deleted is back within two of them. */
const watchIntervalMs = 1000;
/**
 * How many looks in a row must find nobody at a path that another process took over, before it is taken back:
 * more than that process needs to make its own file again.
 */
const looksBeforeTakingBack = 5;
/** First file descriptor that systemd passes: SD_LISTEN_FDS_START. */
const systemdFd = 3;
/** Connections at most. kube-apiserver has one or two; a flood must leave files for the KMS's. */
const maxConnections = 512;

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
  /** Gets each connection. */
  readonly onConnection: (socket: Socket) => void;
  /** Hears what happens after `listenOnSocket` has resolved. Must not throw. */
  readonly onEvent: (event: SocketEvent) => void;
  /** Where systemd's variables are read, and removed. Default: process.env. */
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * `rebound`: the file was gone and is there again. `taken-over`: another process has put its own in place; this
 * one serves what it has, and takes the path back only when nobody answers on it for 5 s. `trouble`: the file is
 * gone and cannot be made again for now, or not by this process. `mended`: that is over. `dropped`: a connection too
 * many was closed.
 */
export type SocketEvent =
  | { readonly type: "rebound" | "taken-over" | "mended" | "dropped" }
  | { readonly type: "trouble"; readonly error: ProviderError };

/** A socket that is listened on. */
export interface ListeningSocket {
  /** As --sock gives it; Node does not tell where systemd bound its own. */
  readonly address: string;
  /** Who bound it. */
  readonly origin: "file" | "abstract" | "systemd";
  /** False while its path is known to lead nowhere. */
  readonly isThere: boolean;
  /** Stops listening and removes the file where it is ours. Connections stay. Idempotent. */
  close(): Promise<void>;
}

/** A refusal, with what to do. */
function socketError(message: string, cause?: unknown): ProviderError {
  return new ProviderError("SOCKET", message, { cause });
}

/** Listens. @throws SOCKET where the socket cannot be had, with what to do */
export async function listenOnSocket(options: UnixSocketOptions): Promise<ListeningSocket> {
  const passed = passedSockets(options.env ?? process.env);
  if (passed > 1)
    throw socketError(`systemd passed ${passed} sockets: keep one ListenStream= in the socket unit`);
  if (passed === 1) return await listenOnPassed(options);
  if (options.path.startsWith("@")) return await listenOnAbstract(options);
  return await listenOnFile({ ...options, path: path.resolve(options.path) });
}

/** How many sockets systemd passed to this process. Its variables are removed, so that no child believes them. */
function passedSockets(env: NodeJS.ProcessEnv): number {
  const isForUs = env["LISTEN_PID"] === String(process.pid);
  const count = isForUs ? Number(env["LISTEN_FDS"] ?? 0) : 0;
  if (isForUs) for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete env[name];
  return Number.isInteger(count) ? count : 0;
}

async function listenOnPassed(options: UnixSocketOptions): Promise<ListeningSocket> {
  const server = newServer(options);
  try {
    await listening(server, () => server.listen({ fd: systemdFd }));
  } catch (error) {
    throw socketError(`the socket that systemd passed cannot be listened on: ${reasonOf(error)}`, error);
  }
  const address = server.address();
  if (address !== null && typeof address === "object") {
    server.close();
    throw socketError("systemd passed a network socket: give ListenStream= in the socket unit a path");
  }
  const { path: file, onEvent } = options;
  const looks = file.startsWith("@") ? undefined : lookNowAndThen(() => expectAtPath(file), onEvent);
  return {
    address: file,
    origin: "systemd",
    get isThere() {
      return looks?.isWell !== false;
    },
    async close() {
      await looks?.stop();
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
    await listening(server, () => server.listen({ path: `\0${options.path.slice(1)}` }));
  } catch (error) {
    if (!isErrno(error, "EADDRINUSE"))
      throw socketError(`cannot listen on ${options.path}: ${reasonOf(error)}`, error);
    throw socketError(
      `another process listens on the abstract socket ${options.path}: stop it (--replace needs a path)`,
      error,
    );
  }
  return { address: options.path, origin: "abstract", isThere: true, close: () => closed(server) };
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
    get isThere() {
      return watch.isWell;
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

/** @throws SOCKET where the path cannot be used, or another process answers there and is not to be replaced */
async function decideFree(options: UnixSocketOptions): Promise<SocketDecision> {
  const decision = await decideSocketPath(options);
  const isTaken = decision.state === "occupied" || decision.state === "unknown";
  if (isTaken && !options.replace) throw occupiedError(options.path, decision.state);
  return decision;
}

/** Binds beside the path with its mode, sets the group, and renames into place: the path never has another. */
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
        server.listen({ path: aside });
      } finally {
        process.umask(before);
      }
    });
    // Not through a link: who may write to the folder could have put one here, to a file of root's.
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

interface WatchOptions {
  readonly path: string;
  readonly isOurs: (identity: FileIdentity) => boolean;
  readonly rebind: () => Promise<void>;
  readonly onEvent: (event: SocketEvent) => void;
}

/** Keeps the file where it is. By looking, because a watch is lost with the folder it is set on. */
function watchFile(options: WatchOptions): Looks {
  let isTakenOver = false;
  let looksWithNobody = 0;

  async function look(isStopped: () => boolean): Promise<void> {
    const found = await lookAt(options.path);
    if (found.kind === "socket" && options.isOurs(found.identity)) return;
    if (found.kind === "socket" && (await whoAnswers(options.path)) !== "nobody") {
      looksWithNobody = 0;
      if (!isTakenOver) options.onEvent({ type: "taken-over" });
      isTakenOver = true;
      return;
    }
    if (found.kind === "other" || found.kind === "folder")
      throw socketError(`${options.path} is there and is not a socket: remove it`);
    looksWithNobody += 1;
    if (isStopped() || (isTakenOver && looksWithNobody < looksBeforeTakingBack)) return;
    await options.rebind();
    isTakenOver = false;
    looksWithNobody = 0;
    options.onEvent({ type: "rebound" });
  }
  return lookNowAndThen(look, options.onEvent);
}

/** Looks that are made again and again. */
interface Looks {
  /** Whether the last one found nothing wrong. */
  readonly isWell: boolean;
  stop(): Promise<void>;
}

/** Tells each trouble that a look throws once. */
function lookNowAndThen(
  look: (isStopped: () => boolean) => Promise<void>,
  onEvent: UnixSocketOptions["onEvent"],
): Looks {
  let told = "";
  let looking: Promise<void> | undefined;
  let isStopped = false;

  async function lookSafely(): Promise<void> {
    try {
      await look(() => isStopped);
      if (told !== "") onEvent({ type: "mended" });
      told = "";
    } catch (caught) {
      const error = toProviderError(caught);
      if (error.message !== told) onEvent({ type: "trouble", error });
      told = error.message;
    } finally {
      looking = undefined;
    }
  }

  const timer = setInterval(() => {
    looking ??= lookSafely();
  }, watchIntervalMs).unref();

  return {
    get isWell() {
      return told === "";
    },
    async stop() {
      isStopped = true;
      clearInterval(timer);
      await looking;
    },
  };
}

function newServer(options: UnixSocketOptions): Server {
  const server = createServer(options.onConnection);
  server.maxConnections = maxConnections;
  server.on("drop", () => {
    options.onEvent({ type: "dropped" });
  });
  return server;
}

/** Resolves once the server listens. Later errors of accept(2) are left to the next look at the file. */
async function listening(server: Server, listen: () => void): Promise<void> {
  const done = Promise.withResolvers<void>();
  server.once("listening", done.resolve);
  server.once("error", done.reject);
  listen();
  await done.promise;
  server.off("error", done.reject);
  server.on("error", () => undefined);
}

/** Stops listening; connections stay, so their end is not waited for. */
async function closed(server: Server): Promise<void> {
  server.close();
}

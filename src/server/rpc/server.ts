/**
 * The server that kube-apiserver connects to: gRPC and the Connect protocol over cleartext HTTP/2 on a Unix socket.
 * Built before it listens; drained before it ends. Leaves out HTTP/1.1.
 */
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Encryptor } from "../../encryptors/encryptor.ts";
import { ProviderError } from "../../errors.ts";
import type { Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import type { KeyStatus } from "../key/key-status.ts";
import { connectionsWithin, type OpenFilesWatch, watchOpenFiles } from "../open-files.ts";
import type { SocketReach } from "../socket/socket-watch.ts";
import type { ListeningSocket, SocketEvent, UnixSocketOptions } from "../socket/unix-socket.ts";
import { listenOnSocket } from "../socket/unix-socket.ts";
import { Admission } from "./admission.ts";
import { logCall } from "./call-log.ts";
import { createFastMethods } from "./fast-path.ts";
import { createSessionServer } from "./http2-server.ts";
import { createKmsService } from "./kms-service.ts";
import { createRequestHandler, type RequestHandler, type RequestHandlerOptions } from "./request-handler.ts";
import { endWithHeaders } from "./stream.ts";

/** Calls open at once, beyond which none is even read: each takes some 40 KB until its answer is written. */
const maxOpenCalls = 2048;
/** Connections at most, and as part of the files that may be open. kube-apiserver has one or two. */
const connectionLimits = { least: 8, most: 512 };
const connectionFiles = 1 / 2;

/** Longest wait of the end for a socket that is being made, in ms: a file system may hang. */
const startingMs = 1000;

/** How long a client may take to close its connection after the GOAWAY, in ms. gRPC clients do it at once. */
const lingerMs = 250;

/** What answers the calls of KMS v2. */
export interface Backend {
  readonly encryptor: Encryptor;
  readonly status: KeyStatus;
}

/** How a {@link KmsServer} is made. */
export interface KmsServerOptions {
  /** Connections wait for it. Must not reject. */
  readonly backend: Promise<Backend>;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Longest time of a call, and of the drain at the end, in ms. */
  readonly timeoutMs: number;
  /** Most calls to the KMS at once. */
  readonly maxInflight: number;
  readonly socket: Pick<UnixSocketOptions, "path" | "mode" | "group" | "replace" | "insecureDir" | "env">;
  /** Most connections. Default: 512, or what the limit of open files allows. */
  readonly maxConnections?: number;
}

/** The server. */
export interface KmsServer {
  /** Listens. @throws SOCKET */
  listen(): Promise<void>;
  /**
   * Removes the socket, sends GOAWAY to every client, lets what is in flight finish for at most timeoutMs, then
   * closes every connection. Resolves when all are closed. Idempotent.
   */
  close(): Promise<void>;
  /** Calls to the KMS that run now. */
  inflight(): number;
  /** Connections that are open now. */
  connections(): number;
  /** The path that is listened on, `@name` for an abstract socket; undefined before `listen` and after `close`. */
  address(): string | undefined;
  /** Where a client that connects to that path gets, as far as is known. */
  reach(): SocketReach;
}

/** Builds the server; it takes no connection before `listen`. */
export function createKmsServer(options: KmsServerOptions): KmsServer {
  const { logger, metrics, maxInflight, timeoutMs } = options;
  const maxConnections = options.maxConnections ?? connectionsWithin(connectionFiles, connectionLimits);
  const connections = new Set<Socket>();
  const draining = new AbortController();
  const admission = new Admission({
    maxOpen: Math.max(maxOpenCalls, 2 * maxInflight),
    maxInflight,
    onInflight: (delta) => metrics.inflight(delta),
    onDisplaced() {
      metrics.rejected("session");
      logger.warn("a client that left its calls unfinished was closed: too few slots were free");
    },
  });
  const http2 = options.backend.then((backend) => {
    const handle = createHandler(options, backend, admission, draining.signal);
    return createSessionServer({ admission, handle, logger, metrics, maxInflight });
  });
  const goAway = (): void => void http2.then((server) => server.goAway());
  let socket: ListeningSocket | undefined;
  let starting: Promise<ListeningSocket> | undefined;
  let closing: Promise<void> | undefined;
  let openFiles: OpenFilesWatch | undefined;

  function onConnection(connection: Socket): void {
    if (admission.sessions >= maxConnections) {
      metrics.rejected("connection");
      logger.warn("too many connections: the least useful one was closed", { limit: maxConnections });
      if (!admission.closeLeastUseful()) {
        connection.destroy();
        return;
      }
    }
    connections.add(connection);
    connection.once("close", () => connections.delete(connection));
    void begin(connection);
  }

  async function begin(connection: Socket): Promise<void> {
    const { accept } = await http2;
    if (!connection.destroyed) accept(connection);
  }

  async function drain(): Promise<void> {
    // Asked to end while it begins to listen, it would leave its file behind.
    const begun = starting?.catch(() => undefined);
    await Promise.race([begun, sleep(startingMs, undefined, { ref: false })]);
    openFiles?.stop();
    await socket?.close();
    socket = undefined;
    draining.abort(new ProviderError("SHUTTING_DOWN", "the provider is shutting down"));
    const closed = [...connections].map((connection) => closeWhenWritten(connection));
    goAway();
    const timer = setTimeout(() => {
      for (const connection of connections) connection.destroy();
    }, timeoutMs);
    await Promise.all(closed);
    clearTimeout(timer);
  }

  return {
    async listen() {
      const report = createSocketReporter(options, goAway);
      // Beyond, the kernel's queue is emptied without a session for each.
      const hardLimit = Math.ceil(1.25 * maxConnections);
      starting = listenOnSocket({
        ...options.socket,
        maxConnections: hardLimit,
        onConnection,
        onEvent: report,
      }).then((made) => (socket = made));
      const { address, origin } = await starting;
      openFiles = watchOpenFiles((error) => reportOpenFiles(options, error));
      logger.info("listening", { path: address, origin });
      if (origin === "abstract")
        logger.warn(
          "an abstract socket has no permissions: any local process of this network may connect; kube-apiserver " +
            "before 1.32 cannot use one",
        );
    },
    close: () => (closing ??= drain()),
    inflight: () => admission.inflight,
    connections: () => connections.size,
    address: () => socket?.address,
    reach: () => socket?.reach ?? "missing",
  };
}

/** What answers the requests: the fast path, and Connect's handlers for all services. */
function createHandler(
  options: KmsServerOptions,
  { encryptor, status }: Backend,
  admission: Admission,
  draining: AbortSignal,
): RequestHandler {
  const { logger, metrics, timeoutMs } = options;
  const kms = createKmsService(encryptor, status);
  return createRequestHandler({
    fastMethods: createFastMethods(kms),
    connect: madeWhenAsked(async () => {
      const { createOtherServices } = await import("./other-services.ts");
      return createOtherServices({ kms, status, draining });
    }, logger),
    timeoutMs,
    admission,
    onEnd(call, code) {
      metrics.request(call.method.name, code, (performance.now() - call.startedAt) / 1000);
      if (call.error instanceof ProviderError && call.error.kind === "overload")
        metrics.rejected("overloaded");
      logCall(logger, call, code);
    },
  });
}

type ConnectHandler = RequestHandlerOptions["connect"];

/** A handler that is made when the first request comes. */
function madeWhenAsked(make: () => Promise<ConnectHandler>, logger: Logger): ConnectHandler {
  let made: Promise<ConnectHandler> | undefined;
  return async (request) => {
    try {
      made ??= make();
      (await made)(request);
    } catch (error) {
      logger.error(
        "cannot load what answers this call: restart if the program's files were replaced",
        {},
        error,
      );
      endWithHeaders(request.stream, { ":status": 503 });
      request.onAnswered("Unavailable");
    }
  };
}

/** Makes what reports the socket's events. `onTakenOver`: the clients are to go to another process. */
function createSocketReporter(
  { logger, metrics, socket: { path } }: KmsServerOptions,
  onTakenOver: () => void,
): (event: SocketEvent) => void {
  return (event) => {
    switch (event.type) {
      case "rebound":
        metrics.socketRebind();
        logger.warn("the socket file was missing and has been created again", { path });
        break;
      case "taken-back":
        logger.info("no other process listens on the socket any more: this process has taken it back", {
          path,
        });
        break;
      case "recovered":
        // A warning may be folded with the last one; the recovery must not be.
        logger.info("the socket file is there again", { path });
        break;
      case "taken-over":
        logger.warn(
          "another process has taken over the socket: clients are sent there, and this process takes the path back " +
            "only when no process listens on it; stop this process if it is not needed",
          { path },
        );
        onTakenOver();
        break;
      case "failed":
        logger.error("the socket file is missing and cannot be created for now", { path }, event.error);
        break;
      case "accept-failed":
        metrics.rejected("connection");
        logger.error("the socket cannot accept a connection", { path }, event.error);
        break;
      case "dropped":
        metrics.rejected("connection");
        logger.warn("too many connections: a new one was closed");
    }
  };
}

function reportOpenFiles({ logger, metrics }: KmsServerOptions, error: Error | undefined): void {
  if (error === undefined) {
    logger.info("file descriptors are free again");
    return;
  }
  metrics.rejected("connection");
  logger.error("no file descriptor is left: new connections are closed", {}, error);
}

/**
 * Closes a connection once its last answer and the GOAWAY are written, and its client has closed it or had time for that. A
 * call that meets a closed connection fails; one that the GOAWAY refuses is made again elsewhere by most clients.
 */
function closeWhenWritten(connection: Socket): Promise<void> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const linger = (): void => {
      timer = setTimeout(() => connection.destroy(), lingerMs);
    };
    connection.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
    if (connection.writableFinished) linger();
    else connection.once("finish", linger);
  });
}

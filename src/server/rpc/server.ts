/**
 * The server that kube-apiserver connects to: Connect's routes (gRPC and Connect protocol) over cleartext
 * HTTP/2 on a Unix socket. Built before it listens; drained before it ends. HTTP/1.1 is not spoken.
 */
import type { Http2Server, ServerHttp2Session } from "node:http2";
import { constants, createServer } from "node:http2";
import type { Socket } from "node:net";
import { createConnectRouter, createServiceImplSpec } from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { Health } from "../../../gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../../../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionAlpha } from "../../../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import type { Encryptor } from "../../encryptors/encryptor.ts";
import { ProviderError } from "../../errors.ts";
import type { Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import { logCall } from "./call-log.ts";
import { createUnaryMethods, type UnaryMethod } from "./grpc-unary.ts";
import { createHealthService } from "./health.ts";
import { createCallInterceptor, createPlaces } from "./interceptors.ts";
import type { KeyStatus } from "../key/key-status.ts";
import { createKmsService } from "./kms-service.ts";
import { maxMessageBytes } from "./limits.ts";
import { createOpenCalls } from "./open-calls.ts";
import { createReflectionServices } from "./reflection.ts";
import { createRequestHandler } from "./request-handler.ts";
import type { ListeningSocket, SocketEvent, UnixSocketOptions } from "../socket/unix-socket.ts";
import { listenOnSocket } from "../socket/unix-socket.ts";

/**
 * Calls that a client may take back, at once and per second. Node's own limit (1000, then 33 a second) is for strangers,
 * and ends the connection with every call on it: kube-apiserver has one, and takes back whatever runs out of time.
 */
const streamResetBurst = 10_000;
const streamResetRate = 2_000;
/** Memory that one HTTP/2 session may take, in MB: Node ends a session that takes more. */
const maxSessionMemoryMb = 4;
/** Longest time until a client has begun to speak HTTP/2, in ms: one that never does would keep its place for ever. */
const maxSilenceMs = 10_000;
/** Calls open at once, beyond which none is even read: each takes some 40 KB until its answer is written. */
const maxOpenCalls = 2048;
/** Headers of one request, in bytes. kube-apiserver sends some 250. */
const maxHeaderBytes = 16 * 1024;

/** How a {@link KmsServer} is made. */
export interface KmsServerOptions {
  readonly encryptor: Encryptor;
  readonly status: KeyStatus;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Longest time of a call, and of the drain at the end, in ms. */
  readonly timeoutMs: number;
  /** Most calls to the KMS inside at once. */
  readonly maxInflight: number;
  readonly socket: Pick<UnixSocketOptions, "path" | "mode" | "group" | "replace" | "insecureDir" | "env">;
}

/** The server. */
export interface KmsServer {
  /** Listens. @throws SOCKET */
  listen(): Promise<void>;
  /**
   * Removes the socket, tells every client to go away, lets what is in flight finish for at most timeoutMs, then
   * closes every connection. Resolves when all are closed. Idempotent.
   */
  close(): Promise<void>;
  /** Calls to the KMS that are inside now. */
  inflight(): number;
  /** Connections that are open now. */
  connections(): number;
  /** The path that is listened on, `@name` for an abstract socket; undefined before `listen` and after `close`. */
  address(): string | undefined;
  /** Whether somebody who connects to that path gets here, as far as is known. */
  isReachable(): boolean;
}

/** Builds the server; it takes no connection before `listen`. */
export function createKmsServer(options: KmsServerOptions): KmsServer {
  const { logger, metrics } = options;
  const sessions: Sessions = new Map();
  const connections = new Set<Socket>();
  const draining = new AbortController();
  const places = createPlaces(options.maxInflight, (delta) => {
    metrics.inflight(delta);
  });
  const http2 = createHttp2Server(options, createRoutes(), sessions);
  let socket: ListeningSocket | undefined;
  let closing: Promise<void> | undefined;

  function createRoutes(): Routes {
    const reflection = createReflectionServices(
      [KeyManagementService, Health, ServerReflection, ServerReflectionAlpha],
      draining.signal,
    );
    const limits = { readMaxBytes: maxMessageBytes, writeMaxBytes: maxMessageBytes };
    const interceptors = [createCallInterceptor(places)];
    const kmsService = createKmsService(options.encryptor, options.status);
    const { handlers } = createConnectRouter({
      grpcWeb: false,
      ...limits,
      // kube-apiserver compresses nothing, and what is not decompressed cannot be a bomb.
      acceptCompression: [],
      interceptors,
    })
      .service(KeyManagementService, kmsService)
      .service(Health, createHealthService(options.status, draining.signal))
      .service(ServerReflection, reflection.v1)
      .service(ServerReflectionAlpha, reflection.v1alpha);
    const spec = createServiceImplSpec<typeof KeyManagementService>(KeyManagementService, kmsService);
    return { handlers, unary: createUnaryMethods(spec, { ...limits, interceptors }) };
  }

  function onSocketEvent(event: SocketEvent): void {
    switch (event.type) {
      case "rebound":
        metrics.socketRebind();
        logger.warn("the socket file was gone and has been made again", { path: options.socket.path });
        break;
      case "mended":
        // A warning may be folded with the last one; that the trouble is over must not be.
        logger.info("the socket file is there again", { path: options.socket.path });
        break;
      case "taken-over":
        logger.warn(
          "another process has taken the socket over: its clients are sent there, and this process takes the path " +
            "back only when nobody answers on it; end this process when it is not needed",
          { path: options.socket.path },
        );
        for (const session of sessions.keys()) session.close();
        break;
      case "trouble":
        logger.error(
          "the socket file is gone and cannot be made again for now",
          { path: options.socket.path },
          event.error,
        );
        break;
      case "dropped":
        metrics.rejected("connection");
        logger.warn("a connection too many was closed");
        // The one that is of least use goes as well, so that whoever tries again gets in.
        longestUnused(sessions)?.close();
    }
  }

  function onConnection(connection: Socket): void {
    connections.add(connection);
    connection.once("close", () => connections.delete(connection));
    http2.emit("connection", connection);
  }

  async function drain(): Promise<void> {
    await socket?.close();
    socket = undefined;
    draining.abort(new ProviderError("SHUTTING_DOWN", "the provider is shutting down"));
    const closed = [...connections].map((connection) => closeWhenWritten(connection));
    for (const session of sessions.keys()) session.close();
    const timer = setTimeout(() => {
      for (const connection of connections) connection.destroy();
    }, options.timeoutMs);
    await Promise.all(closed);
    clearTimeout(timer);
  }

  return {
    async listen() {
      socket = await listenOnSocket({
        ...options.socket,
        onConnection,
        onEvent: onSocketEvent,
      });
      logger.info("listening", { path: socket.address, origin: socket.origin });
      if (socket.origin === "abstract") {
        logger.warn("an abstract socket has no permissions: any local process of this network may connect");
      }
    },
    close: () => (closing ??= drain()),
    inflight: places.taken,
    connections: () => connections.size,
    address: () => socket?.address,
    isReachable: () => socket?.isThere === true,
  };
}

/** Those that are open, in the order of their coming, with the moment of their last call in ms of `performance.now()`. */
type Sessions = Map<ServerHttp2Session, number>;

/** Who answers what. */
interface Routes {
  readonly handlers: readonly UniversalHandler[];
  readonly unary: ReadonlyMap<string, UnaryMethod>;
}

function createHttp2Server(options: KmsServerOptions, routes: Routes, sessions: Sessions): Http2Server {
  const { logger, metrics } = options;
  const server = createServer({
    maxSessionMemory: maxSessionMemoryMb,
    streamResetBurst,
    streamResetRate,
    settings: {
      // More than there are places, so that a caller hears of an overload instead of waiting for a stream.
      maxConcurrentStreams: Math.max(256, 2 * options.maxInflight),
      maxHeaderListSize: maxHeaderBytes,
      enablePush: false,
    },
  });
  const handle = createRequestHandler({
    ...routes,
    timeoutMs: options.timeoutMs,
    openCalls: createOpenCalls({
      most: Math.max(maxOpenCalls, 2 * options.maxInflight),
      onSessionClosed() {
        metrics.rejected("session");
        logger.warn("a client that left its calls unfinished was closed: places were short");
      },
    }),
    onEnd(call, code) {
      metrics.request(call.method.name, code, (performance.now() - call.startedAt) / 1000);
      if (call.error instanceof ProviderError && call.error.code === "OVERLOADED")
        metrics.rejected("overloaded");
      logCall(logger, call, code);
    },
  });
  server.on("stream", (stream, headers) => {
    const session = stream.session as ServerHttp2Session | undefined;
    if (session !== undefined && sessions.has(session)) sessions.set(session, performance.now());
    handle(stream, headers);
  });
  server.on("session", (session) => {
    sessions.set(session, -Infinity);
    const silence = setTimeout(() => {
      metrics.rejected("session");
      logger.debug("a client that said nothing was closed");
      session.destroy();
    }, maxSilenceMs).unref();
    session.once("remoteSettings", () => {
      clearTimeout(silence);
    });
    session.once("close", () => {
      clearTimeout(silence);
      sessions.delete(session);
    });
  });
  // A client that leaves in mid-frame, speaks HTTP/1.1 or sends garbage: its session ends, nothing else does.
  server.on("sessionError", (error) => {
    if (isFarewell(error)) return;
    metrics.rejected("session");
    logger.debug("a client's session broke", { reason: error.message });
  });
  return server;
}

/** The first of those without any call, or the one whose last call is the longest ago. */
function longestUnused(sessions: Sessions): ServerHttp2Session | undefined {
  let oldest: [ServerHttp2Session, number] | undefined;
  for (const entry of sessions)
    if (!entry[0].closed && (oldest === undefined || entry[1] < oldest[1])) oldest = entry;
  return oldest?.[0];
}

/** Some clients, Connect's among them, say good-bye with GOAWAY(CANCEL): nothing was refused and nothing broke. */
function isFarewell(error: Error): boolean {
  return error.message === `Session closed with error code ${constants.NGHTTP2_CANCEL}`;
}

/** Closes a connection as soon as its last answer and the GOAWAY are written: not when its client cares to. */
function closeWhenWritten(connection: Socket): Promise<void> {
  return new Promise((resolve) => {
    connection.once("close", () => {
      resolve();
    });
    if (connection.writableFinished) connection.destroy();
    else connection.once("finish", () => connection.destroy());
  });
}

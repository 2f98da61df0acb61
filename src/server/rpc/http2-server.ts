/** The HTTP/2 server of the socket: its limits, and what becomes of sessions that are silent or broken. */
import type { ServerHttp2Session } from "node:http2";
import { constants, createServer } from "node:http2";
import type { Socket } from "node:net";
import type { Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import type { Admission } from "./admission.ts";
import type { RequestHandler } from "./request-handler.ts";

/**
 * Calls that a client may reset, at once and per second. Node's own limit (1000, then 33 a second) is for clients on the
 * internet, and ends the connection with every call on it: kube-apiserver has one, and resets each call that times out.
 */
const streamResetBurst = 10_000;
const streamResetRate = 2_000;
/** Memory that one HTTP/2 session may take, in MB: Node ends a session that takes more. */
const maxSessionMemoryMb = 4;
/** Longest time until a client has sent its SETTINGS, in ms: one that never does would hold its connection for ever. */
const maxSilenceMs = 10_000;
/** Headers of one request, in bytes. kube-apiserver sends some 250. */
const maxHeaderBytes = 16 * 1024;
/** Streams of one session at least; more than there are KMS slots, so that a caller gets an error in an overload. */
const minConcurrentStreams = 256;

/** How it is made. */
export interface Http2ServerOptions {
  readonly admission: Pick<Admission, "addSession" | "isDone">;
  readonly handle: RequestHandler;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, "rejected">;
  readonly maxInflight: number;
}

/** An HTTP/2 server that listens nowhere itself. */
export interface SessionServer {
  /** Begins a session on a connection. */
  accept(connection: Socket): void;
  /** Sends GOAWAY to every client; its calls in flight finish. */
  goAway(): void;
}

/** Makes the server. */
export function createSessionServer(options: Http2ServerOptions): SessionServer {
  const { admission, handle, logger, metrics } = options;
  const sessions = new Set<ServerHttp2Session>();
  let accepting: Socket | undefined;
  const server = createServer({
    maxSessionMemory: maxSessionMemoryMb,
    streamResetBurst,
    streamResetRate,
    settings: {
      maxConcurrentStreams: Math.max(minConcurrentStreams, 2 * options.maxInflight),
      maxHeaderListSize: maxHeaderBytes,
      enablePush: false,
    },
  });
  server.on("stream", (stream, headers, _flags, rawHeaders) => {
    handle(stream, headers, rawHeaders);
  });
  server.on("session", (session) => {
    const connection = accepting;
    if (connection === undefined) return;
    sessions.add(session);
    admission.addSession(session, connection);
    const silence = setTimeout(() => {
      metrics.rejected("session");
      logger.debug("a client that sent nothing was closed");
      connection.destroy();
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
  server.on("sessionError", (error, session) => {
    if (isGracefulEnd(error) || (isProtocolError(error) && admission.isDone(session))) return;
    metrics.rejected("session");
    logger.debug("a client's session failed", { reason: error.message });
  });
  return {
    accept(connection) {
      accepting = connection;
      server.emit("connection", connection);
      accepting = undefined;
    },
    goAway() {
      for (const session of sessions) session.close();
    },
  };
}

/** Some clients, Connect's among them, end with GOAWAY(CANCEL): nothing was refused and nothing failed. */
function isGracefulEnd(error: Error): boolean {
  return error.message === `Session closed with error code ${constants.NGHTTP2_CANCEL}`;
}

/** As grpc-go's last GOAWAY looks to nghttp2: it names a stream of its own. */
function isProtocolError(error: Error): boolean {
  return error.message === "Protocol error";
}

/**
 * The operator's HTTP endpoint: /livez (this process and its socket), /readyz (the key), /metrics (Prometheus).
 * GET and HEAD only, loopback unless told otherwise, nothing secret. It is a side door: whatever happens to it
 * is logged, and never ends what kube-apiserver needs. Leaves out TLS and authentication.
 */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { isIP, type Socket } from "node:net";
import { keyIdHash } from "../text/key-id-hash.ts";
import type { Logger } from "../log/log.ts";
import type { Metrics } from "../metrics.ts";
import type { KeySnapshot, KeyStatus } from "./key/key-status.ts";

/** Longest time for a request to arrive, and for a connection to be idle, in ms. */
const idleMs = 5000;
/** Headers of one request, in bytes. */
const maxHeaderBytes = 8 * 1024;
/** Connections at once. Prometheus and two kinds of probe need one each; beyond, the one unused for longest goes. */
const maxConnections = 64;
/** Time between two tries to listen, in ms: with --replace the old process still holds the port for a while. */
const retryMs = 5000;

/** How an {@link HttpEndpoint} is made. */
export interface HttpEndpointOptions {
  /** `host:port`; without a host loopback; port 0 for any free one. */
  readonly addr: string;
  readonly status: Pick<KeyStatus, "snapshot">;
  readonly metrics: Pick<Metrics, "render" | "contentType">;
  readonly logger: Logger;
  /** Whether the Unix socket is listened on. */
  readonly listening: () => boolean;
}

/** The endpoint. */
export interface HttpEndpoint {
  /** `host:port` that is listened on; undefined where that has failed so far. */
  address(): string | undefined;
  /** Ends it, connections included. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts the endpoint. Where the port cannot be had, that is logged, and tried again every 5 s; resolves after
 * the first try either way.
 */
export async function startHttpEndpoint(options: HttpEndpointOptions): Promise<HttpEndpoint> {
  const { logger, addr } = options;
  const server = createEndpointServer(options);
  const target = parseAddr(addr);
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;

  function address(): string | undefined {
    const bound = server.address();
    if (bound === null || typeof bound === "string") return undefined;
    return bound.family === "IPv6" ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`;
  }

  async function tryToListen(isFirst: boolean): Promise<void> {
    if (target === undefined) {
      logger.error("there is no HTTP endpoint: --http-addr is not host:port", { addr });
      return;
    }
    const failure = await listen(server, target);
    if (isClosed) {
      server.close();
      return;
    }
    if (failure === undefined) {
      logger.info("the HTTP endpoint listens", { address: address() });
      return;
    }
    if (isFirst) logger.error("the HTTP endpoint cannot listen and tries again", { addr }, failure);
    retry = setTimeout(() => void tryToListen(false), retryMs).unref();
  }

  if (target !== undefined && !isLoopback(target.host)) {
    logger.warn("the HTTP endpoint is open to other machines: it has no TLS and asks for no password", {
      addr,
    });
  }
  // Out of file descriptors, say: without a listener the event would end the process.
  server.on("error", (error) => {
    if (server.listening) logger.warn("the HTTP endpoint lost a connection", {}, error);
  });
  await tryToListen(true);
  return {
    address,
    close() {
      isClosed = true;
      clearTimeout(retry);
      if (!server.listening) return Promise.resolve();
      return new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      });
    },
  };
}

/** What is answered: a status, a text, and its media type where that is not plain text. */
interface Answer {
  readonly status: number;
  readonly text: string;
  readonly contentType?: string;
}

function createEndpointServer(options: HttpEndpointOptions): Server {
  const server = createServer(
    {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: idleMs,
      requestTimeout: idleMs,
      keepAliveTimeout: idleMs,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => {
      void respond(options, request, response);
    },
  );
  keepNewest(server, maxConnections);
  // Node holds a connection that never sends a request only to headersTimeout; this holds all idle ones.
  server.timeout = 2 * idleMs;
  return server;
}

/** Whoever comes is let in: one that is refused could be the kubelet, and the others anybody of this host. */
function keepNewest(server: Server, most: number): void {
  const sockets = new Set<Socket>();
  const use = (socket: Socket): void => {
    sockets.delete(socket);
    sockets.add(socket);
  };
  server.on("connection", (socket: Socket) => {
    use(socket);
    socket.once("close", () => sockets.delete(socket));
    const [longestUnused] = sockets;
    if (sockets.size <= most || longestUnused === undefined) return;
    sockets.delete(longestUnused);
    longestUnused.destroy();
  });
  server.on("request", ({ socket }: IncomingMessage) => use(socket));
}

async function respond(
  options: HttpEndpointOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    // A body that nobody reads must not stand before the next request.
    response.setHeader("connection", "close");
    send(response, { status: 405, text: "only GET and HEAD are allowed\n" });
    return;
  }
  try {
    send(response, await answer(options, request.url ?? "/"));
  } catch (error) {
    options.logger.error("the HTTP endpoint failed to answer", {}, error);
    send(response, { status: 500, text: "internal error\n" });
  }
}

async function answer(options: HttpEndpointOptions, url: string): Promise<Answer> {
  const [path, query = ""] = url.split("?", 2);
  switch (path) {
    case "/livez":
      return options.listening()
        ? { status: 200, text: "ok\n" }
        : { status: 503, text: "the socket is not listened on\n" };
    case "/readyz":
      return readiness(options, new URLSearchParams(query).has("verbose"));
    case "/metrics":
      return { status: 200, text: await options.metrics.render(), contentType: options.metrics.contentType };
    default:
      return { status: 404, text: "not found: there are /livez, /readyz, /readyz?verbose and /metrics\n" };
  }
}

function readiness(options: HttpEndpointOptions, isVerbose: boolean): Answer {
  const now = options.status.snapshot();
  const isListening = options.listening();
  const isKeyWell = now.state === "ok" || now.state === "grace";
  const status = isListening && isKeyWell ? 200 : 503;
  if (isVerbose) return { status, text: verboseText(now, isListening, isKeyWell) };
  if (status === 200) return { status, text: "ok\n" };
  return { status, text: isListening ? `${now.healthz}\n` : "the socket is not listened on\n" };
}

/** The parts, in the form of kube-apiserver's own `/readyz?verbose`. */
function verboseText(now: KeySnapshot, isListening: boolean, isKeyWell: boolean): string {
  const inGrace = now.state === "grace" ? " (a transient failure for less than --status-grace)" : "";
  const lines = [
    isListening ? "[+]socket ok" : "[-]socket failed: it is not listened on",
    isKeyWell ? `[+]key ok${inGrace}` : `[-]key failed: ${now.healthz}`,
    `state: ${now.state}`,
    `key_id_hash: ${now.keyId === undefined ? "none yet" : keyIdHash(now.keyId)}`,
    `last good probe: ${now.lastGoodProbe?.toISOString() ?? "none yet"}`,
    `last deep probe: ${now.lastDeepProbe?.toISOString() ?? "none yet"}`,
    ...(now.failure === undefined ? [] : [`failure: ${now.failure.code}`]),
    `readyz check ${isListening && isKeyWell ? "passed" : "failed"}`,
  ];
  return `${lines.join("\n")}\n`;
}

function send(response: ServerResponse, { status, text, contentType }: Answer): void {
  response.writeHead(status, {
    "content-type": contentType ?? "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  // For HEAD Node leaves the text out.
  response.end(text);
}

interface Target {
  readonly host: string;
  readonly port: number;
}

/** `:8088` is loopback here, unlike in Go: nothing is open to the network that nobody asked to be. */
function parseAddr(addr: string): Target | undefined {
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<host>[^:[\]]*)):(?<port>\d{1,5})$/.exec(addr);
  const port = Number(match?.groups?.["port"]);
  const host = match?.groups?.["v6"] ?? match?.groups?.["host"];
  if (host === undefined || port > 65_535) return undefined;
  return { host: host === "" ? "127.0.0.1" : host, port };
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** Resolves with the error where it cannot listen. */
function listen(server: Server, { host, port }: Target): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const onListening = (): void => {
      server.off("error", onError);
      resolve(undefined);
    };
    const onError = (error: Error): void => {
      server.off("listening", onListening);
      resolve(error);
    };
    server.once("listening", onListening);
    server.once("error", onError);
    server.listen(port, host);
  });
}

/**
 * The operator's HTTP endpoint: /livez (this process and its socket), /readyz (the key), /metrics (Prometheus).
 * GET and HEAD only, loopback by default, nothing secret. Whatever happens to it is logged, and never ends what
 * kube-apiserver needs. Leaves out TLS and authentication.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { isIP, type Socket } from "node:net";
import { keyIdHash } from "../text/key-id-hash.ts";
import type { Logger } from "../log/log.ts";
import type { Metrics } from "../metrics.ts";
import type { KeySnapshot, KeyStatus } from "./key/key-status.ts";
import { connectionsWithin } from "./open-files.ts";
import type { SocketReach } from "./socket/socket-watch.ts";

/** Longest time for a request to arrive, and for a connection to be idle, in ms. */
const idleMs = 5000;
/** Headers of one request, in bytes. */
const maxHeaderBytes = 8 * 1024;
/** Connections at once, and as part of the files that may be open: Prometheus and two kinds of probe need one each. */
const connectionLimits = { least: 4, most: 64 };
const connectionFiles = 1 / 8;
/** Time between two attempts to listen, in ms: with --replace the old process still holds the port for a while. */
const retryMs = 5000;
/** For how long a rendered page of metrics is given again, in ms. */
const pageMs = 1000;

/** Where the endpoint listens. */
export interface HttpAddress {
  /** `host:port`, for the log. */
  readonly name: string;
  /** An IPv6 address without its brackets. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/** How an {@link HttpEndpoint} is made. */
export interface HttpEndpointOptions {
  readonly address: HttpAddress;
  readonly status: Pick<KeyStatus, "snapshot">;
  readonly metrics: Pick<Metrics, "render" | "contentType">;
  readonly logger: Logger;
  /** Where the path of the Unix socket leads, as far as is known. */
  readonly reach: () => SocketReach;
}

/** The endpoint. */
export interface HttpEndpoint {
  /** `host:port` that is listened on; undefined where that has failed so far. */
  address(): string | undefined;
  /** Ends it, connections included. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts the endpoint. Where it cannot listen, that is logged, and tried again every 5 s; resolves after the first
 * attempt either way.
 */
export async function startHttpEndpoint(options: HttpEndpointOptions): Promise<HttpEndpoint> {
  const { logger, address: target } = options;
  const addr = target.name;
  const server = createEndpointServer(options);
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;

  function address(): string | undefined {
    const bound = server.address();
    if (bound === null || typeof bound === "string") return undefined;
    return bound.family === "IPv6" ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`;
  }

  async function attempt(isFirst: boolean): Promise<void> {
    const failure = await listen(server, target);
    if (isClosed) {
      server.close();
      return;
    }
    if (failure === undefined) {
      logger.info("the HTTP endpoint listens", { address: address() });
      return;
    }
    if (isFirst) logger.error("the HTTP endpoint cannot listen; trying again every 5 s", { addr }, failure);
    retry = setTimeout(() => void attempt(false), retryMs).unref();
  }

  if (!isLoopback(target.host)) {
    logger.warn("the HTTP endpoint is open to other machines, without TLS and authentication", {
      addr,
    });
  }
  // EMFILE, say: without a listener the event would end the process.
  server.on("error", (error) => {
    if (server.listening) logger.warn("the HTTP endpoint cannot accept a connection", {}, error);
  });
  await attempt(true);
  return {
    address,
    async close() {
      isClosed = true;
      clearTimeout(retry);
      if (!server.listening) return;
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    },
  };
}

/** A status, a text, and its media type where that is not plain text. */
interface Page {
  readonly status: number;
  readonly text: string;
  readonly contentType?: string;
}

function createEndpointServer(options: HttpEndpointOptions): Server {
  const metricsPage = shared(pageMs, () => options.metrics.render());
  const server = createServer({
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: idleMs,
    requestTimeout: idleMs,
    keepAliveTimeout: idleMs,
    connectionsCheckingInterval: 1000,
  });
  server.on(
    "request",
    oneAtATime((request, response) => respond({ ...options, metricsPage }, request, response)),
  );
  keepNewest(server, connectionsWithin(connectionFiles, connectionLimits));
  // Node holds a connection that never sends a request only to headersTimeout; this holds all idle ones.
  server.timeout = 2 * idleMs;
  return server;
}

/** The result of `make`, made again once it is older than `ms`. */
function shared(ms: number, make: () => Promise<string>): () => Promise<string> {
  let made: { readonly at: number; readonly page: Promise<string> } | undefined;
  return () => {
    if (made === undefined || performance.now() - made.at >= ms)
      made = { at: performance.now(), page: make() };
    return made.page;
  };
}

/**
 * One request at a time per connection: what sends the next before it has its answer is closed. No scraper and no probe
 * does, and each of the thousands that fit in one read would take memory until the first is read.
 */
function oneAtATime(
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): (request: IncomingMessage, response: ServerResponse) => void {
  const busy = new WeakSet<Socket>();
  return (request, response) => {
    const { socket } = request;
    if (busy.has(socket)) {
      socket.destroy();
      return;
    }
    busy.add(socket);
    response.once("close", () => busy.delete(socket));
    void handle(request, response);
  };
}

/** A new connection is always accepted: it could be the kubelet's. Beyond `most` the one that is unused for longest is closed. */
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

/** What a request is answered from. */
interface Sources extends Pick<HttpEndpointOptions, "status" | "reach" | "logger" | "metrics"> {
  readonly metricsPage: () => Promise<string>;
}

async function respond(sources: Sources, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    // A body that is not read must not delay the next request.
    response.setHeader("connection", "close");
    send(response, { status: 405, text: "only GET and HEAD are allowed\n" });
    return;
  }
  try {
    send(response, await pageOf(sources, request.url ?? "/"));
  } catch (error) {
    sources.logger.error("the HTTP endpoint failed to answer", {}, error);
    send(response, { status: 500, text: "internal error\n" });
  }
}

async function pageOf(sources: Sources, url: string): Promise<Page> {
  const [path, query = ""] = url.split("?", 2);
  switch (path) {
    case "/livez":
      // One that was taken over is no reason to restart this process: it would take the socket from its successor.
      return sources.reach() === "missing"
        ? { status: 503, text: `${socketProblems.missing}\n` }
        : { status: 200, text: "ok\n" };
    case "/readyz":
      return readiness(sources, new URLSearchParams(query).has("verbose"));
    case "/metrics":
      return { status: 200, text: await sources.metricsPage(), contentType: sources.metrics.contentType };
    default:
      return { status: 404, text: "not found: there are /livez, /readyz, /readyz?verbose and /metrics\n" };
  }
}

function readiness(sources: Sources, isVerbose: boolean): Page {
  const now = sources.status.snapshot();
  const reach = sources.reach();
  const problem = reach === "listening" ? undefined : socketProblems[reach];
  const isKeyHealthy = now.state === "ok" || now.state === "grace";
  const status = problem === undefined && isKeyHealthy ? 200 : 503;
  if (isVerbose) return { status, text: verboseText(now, problem, isKeyHealthy) };
  return { status, text: `${problem ?? (isKeyHealthy ? "ok" : now.healthz)}\n` };
}

const socketProblems = {
  missing: "the socket is not listened on",
  "taken over": "another process has taken over the socket",
} as const satisfies Record<Exclude<SocketReach, "listening">, string>;

/** The parts, in the form of kube-apiserver's own `/readyz?verbose`. */
function verboseText(now: KeySnapshot, socketProblem: string | undefined, isKeyHealthy: boolean): string {
  const inGrace = now.state === "grace" ? " (failing for less than --status-grace)" : "";
  const lines = [
    socketProblem === undefined ? "[+]socket ok" : `[-]socket failed: ${socketProblem}`,
    isKeyHealthy ? `[+]key ok${inGrace}` : `[-]key failed: ${now.healthz}`,
    `state: ${now.state}`,
    `key_id_hash: ${now.keyId === undefined ? "none yet" : keyIdHash(now.keyId)}`,
    `last good probe: ${now.lastGoodProbe?.toISOString() ?? "none yet"}`,
    `last deep probe: ${now.lastDeepProbe?.toISOString() ?? "none yet"}`,
    ...(now.failure === undefined ? [] : [`failure: ${now.failure.code}`]),
    `readyz check ${socketProblem === undefined && isKeyHealthy ? "passed" : "failed"}`,
  ];
  return `${lines.join("\n")}\n`;
}

function send(response: ServerResponse, { status, text, contentType }: Page): void {
  response.writeHead(status, {
    "content-type": contentType ?? "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  // For HEAD Node leaves the text out.
  response.end(text);
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** Resolves with the error where it cannot listen. */
async function listen(server: Server, { host, port }: HttpAddress): Promise<Error | undefined> {
  server.listen(port, host);
  try {
    await once(server, "listening");
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/**
 * One connection to a REST server: a TLS socket of our own with an undici Client on it (HTTP/2 where offered, several requests at
 * a time). Replies are bounded while they are read; no redirect is followed and nothing is decompressed.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Client, Dispatcher } from "undici";
import { NetworkError, ProviderError, RestError } from "../errors.ts";
import type { RestAddress } from "../net/address.ts";
import { dialTls } from "../net/dial.ts";
import { describeSocketError, isUnreadable } from "../net/socket-errors.ts";
import { shownIdentifier } from "../text/untrusted.ts";
import type { Connection, DialOptions, Exchange } from "../upstream/connection.ts";

/** What is sent. */
export interface HttpRequest {
  readonly method: "GET" | "POST";
  /** With query, from the slash on. */
  readonly path: string;
  /** JSON text; undefined: no body. */
  readonly body: string | undefined;
  /** Most bytes of a reply's body that are read. */
  readonly maxReplyBytes: number;
}

/** What came back, whatever its status. */
export interface HttpReply {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** An open connection to a server. */
export interface RestConnection extends Connection {
  readonly address: RestAddress;
  /** Sends a request. The reply rejects with CLOSED, TLS, or REST_BODY where the body is too long. */
  send(request: HttpRequest): Exchange<HttpReply>;
}

/**
 * Few, for throughput: what shares a connection is read and written in one batch, so that this process and the KMS take
 * turns. At 5 ms, 16 callers did 10.6 times one caller's work with all on one connection, 13.0 times with 4 on each.
 */
const requestsOverHttp2 = 4;
/** For what a server that has ended its session still sends. */
const lingerMs = 2_000;

/** Connects to a server. @throws as `dialTls` */
export async function openRestConnection(
  address: RestAddress,
  options: DialOptions,
): Promise<RestConnection> {
  const { Client: UndiciClient } = await import("undici");
  const { learned } = options;
  const socket = await dialTls({
    ...options,
    ...address,
    alpn: learned.get("http2") === false ? ["http/1.1"] : ["h2", "http/1.1"],
    secureContext: address.origin.startsWith("http:") ? undefined : options.secureContext,
  });
  return createRestConnection(socket, address, UndiciClient, () => learned.set("http2", false));
}

/** Wraps a socket whose handshake is done. @param onHttp2Refused told that the server wants HTTP/1.1 */
function createRestConnection(
  socket: Socket,
  address: RestAddress,
  UndiciClient: typeof Client,
  onHttp2Refused: () => void,
): RestConnection {
  const { name } = address;
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<ProviderError>();
  const isHttp2 = socket instanceof TLSSocket && socket.alpnProtocol === "h2";
  const running = new Set<Exchange<HttpReply>>();
  let reason: ProviderError | undefined;
  /** Whether the server has sent HTTP, which one does not that refuses the client certificate. */
  let hasSpoken = false;
  let isTaken = false;

  const client = new UndiciClient(address.origin, {
    connect: (_, callback) => {
      // A second socket would be one that nobody counts.
      if (isTaken) return callback(closedError(name, !hasSpoken), null);
      isTaken = true;
      // Called back at once, undici would not send what it has queued.
      queueMicrotask(() => callback(null, socket));
      return undefined;
    },
    allowH2: true,
    h2Options: { maxConcurrentStreams: requestsOverHttp2, pingInterval: 0 },
    // Each call has its own time, and the pool closes what is idle.
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: 86_400_000,
    keepAliveMaxTimeout: 86_400_000,
  });

  const destroy = (why: ProviderError): void => {
    reason ??= why;
    for (const exchange of running) exchange.abort(why);
    void client.destroy(why).catch(() => undefined);
    socket.destroy();
  };
  /** The server takes no more requests; what is under way may still be answered. */
  const onEnding = (): void => {
    reason ??= closedError(name, false);
    setTimeout(() => destroy(closedError(name, false)), lingerMs).unref();
    setImmediate(closeIfDone);
  };
  /** An ended connection counts until its socket is closed: it must not take the place of another for nothing. */
  const closeIfDone = (): void => {
    if (reason !== undefined && running.size === 0) destroy(reason);
  };

  socket.on("error", (error) => {
    reason ??= describeSocketError(error, name, true);
  });
  socket.once("end", onEnding);
  socket.once("finish", onEnding);
  socket.once("close", () => {
    reason ??= closedError(name, false);
    void client.destroy(reason).catch(() => undefined);
    onClosed(reason);
  });
  client.on("disconnect", (_origin, _targets, error) => {
    // A GOAWAY.
    if (error.code === "UND_ERR_INFO") hasSpoken = true;
    onEnding();
  });

  /** What undici reports tells only that the connection was lost; the socket knows more. */
  const describe = (error: Error): ProviderError => {
    if (error instanceof ProviderError) return error;
    // undici keeps what it could not read in the error, and that may be a plaintext: it is no cause.
    if (isUnreadable(error))
      return new RestError("REST_BODY", `${name} answered with what is no HTTP reply`, { status: 0 });
    if (reason instanceof NetworkError && reason.code === "TLS") return reason;
    if (isHttp2 && isHttp2Refusal(error)) {
      onHttp2Refused();
      return (reason = new NetworkError("CLOSED", `${name} requires HTTP/1.1`, {
        endpoint: name,
        sent: true,
      }));
    }
    const described = describeSocketError(error, name, true);
    return described.code === "CLOSED" && !hasSpoken && isDrop(error)
      ? closedError(name, true, error)
      : described;
  };

  return {
    address,
    agreed: agreedOn(socket, isHttp2),
    capacity: isHttp2 ? requestsOverHttp2 : 1,
    isResumed: socket instanceof TLSSocket && socket.isSessionReused(),
    closed,
    get isOpen() {
      return reason === undefined && !socket.destroyed;
    },
    destroy,
    send: (request) => {
      const exchange = sendRequest(client, request, name, describe);
      running.add(exchange);
      const onEnd = (isAnswered: boolean): void => {
        hasSpoken ||= isAnswered;
        running.delete(exchange);
        if (reason !== undefined) setImmediate(closeIfDone);
      };
      exchange.reply.then(
        () => onEnd(true),
        () => onEnd(false),
      );
      return exchange;
    },
  };
}

function agreedOn(socket: Socket, isHttp2: boolean): string {
  const http = isHttp2 ? "HTTP/2" : "HTTP/1.1";
  if (!(socket instanceof TLSSocket)) return `no TLS, ${http}`;
  return `${socket.getProtocol() ?? "TLS"}${socket.isSessionReused() ? " resumed" : ""}, ${http}`;
}

function isDrop(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "UND_ERR_SOCKET" || code === "ECONNRESET" || code === "EPIPE";
}

/** HTTP_1_1_REQUIRED (RFC 9113, section 7), as where TLS is to be renegotiated for the client certificate of a path. */
function isHttp2Refusal({ message }: Error): boolean {
  return /HTTP_1_1_REQUIRED|"GOAWAY" frame received with code 13/.test(message);
}

/** Over TLS 1.3 a server may drop a client that it does not trust after the handshake, with no alert. */
function closedError(endpoint: string, isSuspect: boolean, cause?: unknown): NetworkError {
  const hint = isSuspect
    ? " before it had ever answered; it may have refused the client certificate (--client-cert)"
    : "";
  return new NetworkError("CLOSED", `${endpoint} closed the connection${hint}`, {
    endpoint,
    sent: isSuspect,
    clientCertificate: isSuspect ? "may be refused" : undefined,
    cause,
  });
}

function sendRequest(
  client: Client,
  request: HttpRequest,
  endpoint: string,
  describe: (error: Error) => ProviderError,
): Exchange<HttpReply> {
  const { promise, resolve, reject } = Promise.withResolvers<HttpReply>();
  const reader = createReader(request.maxReplyBytes, endpoint);
  let controller: Dispatcher.DispatchController | undefined;
  let aborted: ProviderError | undefined;

  const abort = (why: ProviderError): void => {
    aborted ??= why;
    // undici reports an abort only once the request has left its queue: the caller can't wait for that.
    reject(why);
    // A stream that is reset while node:http2 reads for its session can send Node 24 into an endless loop.
    setImmediate(() => controller?.abort(why));
  };

  client.dispatch(
    {
      method: request.method,
      path: request.path,
      body: request.body ?? null,
      headers: request.body === undefined ? headersWithoutBody : headersWithBody,
    },
    {
      onRequestStart(started) {
        controller = started;
        if (aborted !== undefined) started.abort(aborted);
      },
      onResponseStart(_, status, headers) {
        if (status >= 200) reader.start(status, headers);
      },
      onResponseData(_, chunk) {
        const excess = reader.push(chunk);
        if (excess !== undefined) abort(excess);
      },
      onResponseEnd() {
        resolve(reader.finish());
      },
      onResponseError(_, error) {
        // Over HTTP/2 undici fails what it still reads when the other side ends, be it all there.
        if (aborted === undefined && reader.isWhole()) resolve(reader.finish());
        else reject(aborted ?? describe(error));
      },
    },
  );
  return { reply: promise, abort };
}

const headersWithoutBody = { accept: "application/json" };
const headersWithBody = { ...headersWithoutBody, "content-type": "application/json" };

interface Reader {
  start(status: number, headers: IncomingHttpHeaders): void;
  /** The error where this chunk makes the body too long. */
  push(chunk: Uint8Array): RestError | undefined;
  /** Whether the body is as long as its Content-Length says. */
  isWhole(): boolean;
  finish(): HttpReply;
}

function createReader(maxReplyBytes: number, endpoint: string): Reader {
  const chunks: Uint8Array[] = [];
  let length = 0;
  let status = 0;
  let headers: IncomingHttpHeaders = {};
  return {
    start(givenStatus, givenHeaders) {
      status = givenStatus;
      headers = givenHeaders;
    },
    push(chunk) {
      length += chunk.byteLength;
      if (length <= maxReplyBytes) {
        chunks.push(chunk);
        return undefined;
      }
      const message = `the reply of ${endpoint} is longer than ${maxReplyBytes} bytes`;
      return new RestError("REST_BODY", message, { status, requestId: requestIdOf(headers) });
    },
    isWhole: () => status > 0 && headers["content-length"] === String(length),
    finish: () => ({ status, headers, body: Buffer.concat(chunks, length) }),
  };
}

/** `x-request-id` of a reply, where it can be shown. */
export function requestIdOf(headers: IncomingHttpHeaders): string | undefined {
  const value = headers["x-request-id"];
  return typeof value === "string" ? shownIdentifier(value) : undefined;
}

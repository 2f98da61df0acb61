/**
 * The connections to one REST server under one TLS material: an undici Pool (HTTP/2 where offered, many calls
 * on one connection), watched from outside. Replaced as a whole when the certificate changes or the
 * server falls silent: the old ones finish what they carry, then close.
 */
import { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { buildConnector, Pool } from "undici";
import type { Proxy, RestAddress } from "../net/address.ts";
import { watchDial } from "../net/dial-stage.ts";
import { lookupInTurn } from "../net/dns-lookup.ts";
import { NetworkError, ProviderError } from "../errors.ts";
import { openTunnel } from "../net/proxy.ts";
import { describeDialError, describeSocketError } from "../net/socket-errors.ts";
import { secureContextOf, serverVerification, type TlsMaterial } from "../net/tls.ts";
import { type Exchange, type HttpRequest, sendRequest } from "./exchange.ts";

/** What is taken from undici, which is loaded only where REST is used. */
export interface Undici {
  readonly Pool: typeof Pool;
  readonly buildConnector: typeof buildConnector;
}

/** A change of a connection, for the observer. */
export interface ConnectionChange {
  readonly change: "opened" | "closed" | "failed";
  /** What was agreed (`TLSv1.3, HTTP/2`), or why it ended. */
  readonly message: string;
  readonly durationMs?: number;
}

/** The connections to one server. */
export interface Connections {
  /** Sends a request on one of them, opened where needed. */
  send(request: HttpRequest): Exchange;
  /** When something last arrived on any of them, in ms of `performance.now()`; 0: never. */
  readonly lastHeardAt: number;
  /** When they were created, in ms of `performance.now()`. */
  readonly createdAt: number;
  readonly open: number;
  readonly connecting: number;
  /** What the newest dial under way hangs at. */
  readonly dialWaitsFor: string | undefined;
  /** Requests sent or waiting to be. */
  readonly inFlight: number;
  /** Takes no new request from here on, and closes when those in flight have ended. */
  retire(): void;
  /** Ends everything at once; resolves when every socket is closed. */
  destroy(reason: ProviderError): Promise<void>;
}

export interface ConnectionsOptions {
  readonly undici: Undici;
  readonly url: RestAddress;
  readonly tls: TlsMaterial;
  /** Which of the addresses of the server's name to try first, counted from 0 and round again. */
  readonly nthAddress: number;
  readonly onChange: (change: ConnectionChange) => void;
  /** Told when something arrives on any of them, in ms of `performance.now()`. */
  readonly onHeard: (now: number) => void;
  /** Called once, when retired connections have closed. */
  readonly onEnd: () => void;
}

const dialTimeoutMs = 5_000;
/** For the rest of the replies on a connection that was closed from here. */
const lingerMs = 2_000;
/** Longer than the time between two probes, so that a connection is kept warm. */
const idleTimeoutMs = 90_000;
/** Over HTTP/1.1 each carries one request at a time, over HTTP/2 as many as `maxStreams`. */
const maxConnections = 32;
/**
 * Few, for throughput: what shares a connection is read and written in one batch, so that this process and the KMS take
 * turns. At 5 ms, 16 callers did 10.6 times one caller's work with all on one connection, 13.0 times with 4 on each.
 */
const maxStreams = 4;

/** Creates the connections to one server; dials none before the first request. */
export function createConnections(options: ConnectionsOptions): Connections {
  const sockets = createSocketWatch(options);
  const pool = new options.undici.Pool(options.url.origin, {
    connect: sockets.dial,
    allowH2: true,
    h2Options: { maxConcurrentStreams: maxStreams },
    connections: maxConnections,
    keepAliveTimeout: idleTimeoutMs,
    // Each call has its own budget; undici's timers would only double it.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const running = new Set<Exchange>();
  let lastHeardAt = 0;
  let retired = false;
  const heard = (now: number): void => {
    lastHeardAt = now;
    options.onHeard(now);
  };
  const describe = (error: Error, sent: boolean): ProviderError => {
    const described = describeSocketError(error, options.url.name, sent);
    if (lastHeardAt > 0 || !wasDropped(error)) return described;
    return sockets.refusal() ?? neverAnswered(described);
  };
  const closeWhenUnused = (): void => {
    if (!retired || running.size > 0 || pool.destroyed) return;
    // Not `close`: that waits for what undici still holds of requests that were given up.
    void pool.destroy().then(options.onEnd, options.onEnd);
  };

  return {
    send(request) {
      const exchange = sendRequest(pool, request, {
        endpoint: options.url.name,
        onHeard: heard,
        describe,
      });
      running.add(exchange);
      const ended = (): void => {
        running.delete(exchange);
        // Not while node:http2 may still be reading the reply, for the reason that abort in exchange.ts gives.
        if (retired) setImmediate(closeWhenUnused);
      };
      exchange.reply.then(ended, ended);
      return exchange;
    },
    get lastHeardAt() {
      return lastHeardAt;
    },
    createdAt: performance.now(),
    get open() {
      return sockets.open.size;
    },
    get connecting() {
      return sockets.dialling.size;
    },
    get dialWaitsFor() {
      return [...sockets.dialling.values()].at(-1)?.();
    },
    get inFlight() {
      return running.size;
    },
    retire() {
      retired = true;
      closeWhenUnused();
    },
    async destroy(reason) {
      for (const exchange of running) exchange.abort(reason);
      // Also of a pool that is only closing: it would wait for replies that nobody wants.
      await Promise.all([pool.destroy(reason), sockets.destroy()]);
    },
  };
}

interface SocketWatch {
  readonly dial: buildConnector.connector;
  readonly open: ReadonlySet<Socket>;
  /** Each with what it hangs at. */
  readonly dialling: ReadonlyMap<Socket, () => string>;
  /** What a server said on dropping a connection after the handshake: undici tells only that it was dropped. */
  refusal(): NetworkError | undefined;
  destroy(): Promise<void>;
}

/** undici's own connector, with an eye kept on every socket that it makes. */
function createSocketWatch({ undici, url, tls, nthAddress, onChange }: ConnectionsOptions): SocketWatch {
  const open = new Set<Socket>();
  const dialling = new Map<Socket, () => string>();
  let refusal: NetworkError | undefined;
  const connect = undici.buildConnector({
    secureContext: secureContextOf(tls),
    ...serverVerification(url),
    lookup: lookupInTurn(nthAddress),
    allowH2: true,
    preferH2: true,
    timeout: dialTimeoutMs,
    keepAliveInitialDelay: 15_000,
  });

  function watch(socket: Socket, durationMs: number): void {
    const openedAt = performance.now();
    let why = `closed by ${url.name}`;
    open.add(socket);
    socket.once("error", (error) => {
      const described = error instanceof ProviderError ? error : describeSocketError(error, url.name, true);
      why = described.message;
      if (described instanceof NetworkError && described.code === "TLS") refusal = described;
    });
    // A session that the server has ended with GOAWAY: undici waits for ever for the server to close it too.
    socket.once("finish", () => setTimeout(() => socket.destroy(), lingerMs).unref());
    socket.once("close", () => {
      open.delete(socket);
      onChange({ change: "closed", message: why, durationMs: performance.now() - openedAt });
    });
    onChange({ change: "opened", message: agreedOn(socket), durationMs });
  }

  const dial: buildConnector.connector = (target, callback) => {
    if (url.proxy === undefined) return dialDirectly(target, callback);
    void dialThrough(url.proxy, target, callback);
  };

  const dialThrough = async (
    proxy: Proxy,
    target: buildConnector.Options,
    callback: buildConnector.Callback,
  ): Promise<void> => {
    let httpSocket: Socket;
    try {
      httpSocket = await openTunnel(proxy, url);
    } catch (error) {
      const described = describeSocketError(error, url.name, false);
      onChange({ change: "failed", message: described.message });
      callback(described, null);
      return;
    }
    dialDirectly({ ...target, httpSocket }, callback);
  };

  const dialDirectly: buildConnector.connector = (target, callback) => {
    const startedAt = performance.now();
    // Typed as void, and yet it returns the socket: the one way to end a dial that hangs.
    // The origin's host is the name that the certificate must be for; to be dialled is the address.
    const dialled: unknown = connect({ ...target, hostname: url.host }, (error, socket) => {
      const durationMs = performance.now() - startedAt;
      if (error === null) {
        dialling.delete(socket);
        watch(socket, durationMs);
        callback(null, socket);
      } else {
        const described = describeDialError(error, url.name, dialling.get(dialled as Socket)?.());
        fail(dialled, described, durationMs);
        callback(described, null);
      }
    });
    if (!(dialled instanceof Socket)) return;
    dialling.set(dialled, watchDial(dialled, url.host, target.httpSocket !== undefined));
    const givenUp = new ProviderError("CANCELED", `the dial to ${url.name} was given up`);
    dialled.once("close", () => fail(dialled, givenUp, performance.now() - startedAt));
  };

  function fail(dialled: unknown, { message }: ProviderError, durationMs: number): void {
    if (dialling.delete(dialled as Socket)) onChange({ change: "failed", message, durationMs });
  }

  return {
    dial,
    open,
    dialling,
    refusal: () => refusal,
    destroy: () => destroyAll([...open, ...dialling.keys()]),
  };
}

function agreedOn(socket: Socket): string {
  const http = isHttp2(socket) ? "HTTP/2" : "HTTP/1.1";
  return socket instanceof TLSSocket ? `${socket.getProtocol() ?? "TLS"}, ${http}` : `no TLS, ${http}`;
}

function wasDropped(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "UND_ERR_SOCKET" || code === "ECONNRESET" || code === "EPIPE";
}

/** Over TLS 1.3 a server may drop a client that it does not trust after the handshake, with no alert. */
function neverAnswered(error: NetworkError): NetworkError {
  const message = `${error.message} before it had ever answered; it may have refused the client certificate (--client-cert)`;
  const { endpoint, sent, cause } = error;
  return new NetworkError("CLOSED", message, { endpoint, sent, cause, clientCertificate: "may be refused" });
}

function isHttp2(socket: Socket): boolean {
  return socket instanceof TLSSocket && socket.alpnProtocol === "h2";
}

async function destroyAll(sockets: readonly Socket[]): Promise<void> {
  const closing = sockets.map((socket) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (socket.closed) resolve();
    socket.once("close", () => resolve());
    socket.destroy();
    return promise;
  });
  await Promise.all(closing);
}

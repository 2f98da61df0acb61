/**
 * One connection to a KMIP server: TLS with a client certificate (KMIP Profiles 1.4, section 3.1), whole
 * messages in and out, one request at a time. Knows no field of a message but the length in its frame.
 * Replies come in order, so a connection that owes a reply nobody waits for is closed, never used again.
 */
import { connect, type SecureContext, type TLSSocket } from "node:tls";
import { abortError } from "../upstream/abort.ts";
import { watchDial } from "../net/dial-stage.ts";
import { lookupInTurn } from "../net/dns-lookup.ts";
import { NetworkError, ProviderError, toProviderError } from "../errors.ts";
import { describeDialError, describeSocketError } from "../net/socket-errors.ts";
import { serverVerification } from "../net/tls.ts";
import type { Endpoint } from "./endpoint.ts";
import { createFramer } from "./ttlv/framer.ts";

/** After this long without a byte the kernel asks whether the peer is still there. */
const keepAliveAfterMs = 30_000;

/** How a connection is made. */
export interface ConnectionOptions {
  readonly endpoint: Endpoint;
  /** Certificate, key and CA. */
  readonly secureContext: SecureContext;
  /** Ends the dial; has no effect once the connection is there. */
  readonly signal: AbortSignal;
  /** Longest message to accept, in bytes. */
  readonly maxMessageBytes: number;
  /** Which of the addresses of its name to try first, counted from 0 and round again. Default: 0. */
  readonly nthAddress?: number;
  /** Told how to ask what the dial waits for, as soon as it has begun. */
  readonly onDial?: (waitsFor: () => string) => void;
  /** A TLS session to resume. */
  readonly session?: Buffer | undefined;
  /** Told each session that the server gives, for later dials to resume. */
  readonly onSession?: (session: Buffer) => void;
}

/** An open connection. */
export interface Connection {
  readonly endpoint: Endpoint;
  /** What was agreed, as `TLSv1.3` or `TLSv1.3 resumed`. */
  readonly agreed: string;
  /** False from the moment that it can't take a request any more. */
  readonly isOpen: boolean;
  /** Resolves when the socket is closed, with the reason; never rejects. */
  readonly closed: Promise<ProviderError>;
  /**
   * Sends a whole message and waits for the whole reply. Not before the last exchange has ended.
   * @throws CLOSED or TLS where the connection is lost, KMIP_FRAME_TOO_LARGE or TTLV_* where what comes back is no
   *   message, TIMEOUT (response) or CANCELED where `signal` ends first. The connection is closed after each, unless
   *   `signal` had ended before: then nothing was sent. INTERNAL where the last exchange has not ended.
   */
  exchange(message: Uint8Array, signal: AbortSignal): Promise<Uint8Array>;
  /** Closes at once; an exchange under way fails with `reason`. */
  destroy(reason: ProviderError): void;
}

/**
 * Looks the name up, connects, and does the TLS handshake with the server's name checked.
 * When this rejects the socket is closed already.
 * @throws CONNECT, TLS; TIMEOUT (connect), or what `signal` was aborted with.
 */
export async function openConnection(options: ConnectionOptions): Promise<Connection> {
  const { endpoint, signal } = options;
  if (signal.aborted) throw abortError(signal, "connect", `connecting to ${endpoint.name}`);
  const { host, port } = endpoint;
  const socket = connect({
    host,
    port,
    lookup: lookupInTurn(options.nthAddress ?? 0),
    secureContext: options.secureContext,
    ...serverVerification(endpoint),
    session: options.session,
  });
  const waitsFor = watchDial(socket, host);
  options.onDial?.(waitsFor);
  socket.setNoDelay(true);
  socket.setKeepAlive(true, keepAliveAfterMs);
  await handshake(socket, endpoint, signal, waitsFor);
  watchSessions(socket, options.onSession);
  return createConnection(socket, options);
}

/** Resolves once the peer is verified; rejects once the socket is closed. */
function handshake(
  socket: TLSSocket,
  endpoint: Endpoint,
  signal: AbortSignal,
  waitsFor: () => string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    const onAbort = (): void => {
      socket.destroy(abortError(signal, "connect", `connecting to ${endpoint.name} (${waitsFor()})`));
    };
    const onError = (error: Error): void => {
      failure ??= error;
    };
    const onClose = (): void => {
      signal.removeEventListener("abort", onAbort);
      reject(failure instanceof ProviderError ? failure : describeDialError(failure, endpoint.name));
    };
    socket.on("error", onError);
    socket.once("close", onClose);
    socket.once("secureConnect", () => {
      signal.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      socket.off("close", onClose);
      resolve();
    });
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** Sessions are handed on only here, after the peer was verified: a resumed handshake does not check it again. */
function watchSessions(socket: TLSSocket, onSession: ConnectionOptions["onSession"]): void {
  if (onSession === undefined) return;
  const session = socket.getSession();
  if (session !== undefined && socket.getProtocol() !== "TLSv1.3") onSession(session);
  socket.on("session", onSession);
}

interface Exchange {
  readonly resolve: (reply: Uint8Array) => void;
  readonly reject: (error: ProviderError) => void;
}

/** Wraps a socket whose handshake is done. */
function createConnection(socket: TLSSocket, options: ConnectionOptions): Connection {
  const { endpoint, maxMessageBytes } = options;
  const framer = createFramer({ maxMessageBytes });
  const protocol = socket.getProtocol() ?? "TLS";
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<ProviderError>();
  let current: Exchange | undefined;
  let reason: ProviderError | undefined;
  let hasReceived = false;

  const fail = (error: ProviderError): void => {
    reason ??= error;
    const failed = current;
    current = undefined;
    socket.destroy();
    failed?.reject(error);
  };
  const onData = (chunk: Buffer): void => {
    hasReceived = true;
    if (current === undefined) return fail(unexpected(endpoint, "sent bytes that nobody had asked for"));
    let messages: Uint8Array[];
    try {
      messages = framer.push(chunk);
    } catch (error) {
      return fail(toProviderError(error));
    }
    const [reply, ...others] = messages;
    if (reply === undefined) return undefined;
    const { resolve } = current;
    current = undefined;
    resolve(reply);
    if (others.length > 0 || framer.pendingBytes > 0)
      fail(unexpected(endpoint, "sent more than the reply it was asked for"));
    return undefined;
  };
  const onLost = (error?: Error): void => {
    if (reason !== undefined) return;
    const lost =
      error === undefined || (error as NodeJS.ErrnoException).code === "ECONNRESET"
        ? closedByPeer(endpoint, { sent: current !== undefined, hasReceived, cause: error })
        : describeSocketError(error, endpoint.name, current !== undefined);
    fail(lost);
  };

  socket.on("data", onData);
  socket.on("error", onLost);
  socket.once("end", onLost);
  socket.once("close", () => {
    onLost();
    onClosed(reason ?? closedByPeer(endpoint, { sent: false, hasReceived }));
  });

  return {
    endpoint,
    agreed: socket.isSessionReused() ? `${protocol} resumed` : protocol,
    closed,
    get isOpen() {
      return reason === undefined && !socket.destroyed;
    },
    destroy: fail,
    exchange: (message, signal) =>
      new Promise((resolve, reject) => {
        const waitingFor = `waiting for the reply of ${endpoint.name}`;
        if (signal.aborted) return reject(abortError(signal, "response", waitingFor));
        if (reason !== undefined) return reject(reason);
        if (current !== undefined)
          return reject(new ProviderError("INTERNAL", "the connection is already waiting for a reply"));
        const onAbort = (): void => fail(abortError(signal, "response", waitingFor));
        signal.addEventListener("abort", onAbort, { once: true });
        current = {
          resolve: (reply) => {
            signal.removeEventListener("abort", onAbort);
            resolve(reply);
          },
          reject: (error) => {
            signal.removeEventListener("abort", onAbort);
            reject(error);
          },
        };
        socket.write(message);
        return undefined;
      }),
  };
}

function unexpected(endpoint: Endpoint, what: string): ProviderError {
  return new ProviderError("KMIP_UNEXPECTED", `${endpoint.name} ${what}: the connection is closed`, {
    details: { endpoint: endpoint.name },
  });
}

/**
 * The peer hung up. In TLS 1.3 a client's handshake ends before the server has looked at its certificate, so a
 * server that refuses it without an alert is one that hangs up before its first byte; one that restarts can be too.
 */
function closedByPeer(
  endpoint: Endpoint,
  seen: { readonly sent: boolean; readonly hasReceived: boolean; readonly cause?: unknown },
): NetworkError {
  const what = seen.sent ? "closed the connection before it had answered" : "closed the idle connection";
  const isSuspect = seen.sent && !seen.hasReceived;
  const hint = isSuspect ? "; it may have refused the client certificate (--client-cert)" : "";
  return new NetworkError("CLOSED", `${endpoint.name} ${what}${hint}`, {
    endpoint: endpoint.name,
    sent: seen.sent,
    clientCertificate: isSuspect ? "may be refused" : undefined,
    cause: seen.cause,
  });
}

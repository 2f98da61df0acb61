/**
 * One connection to a KMIP server: TLS with a client certificate (KMIP Profiles 1.4, section 3.1), whole messages in and out,
 * one request at a time. Knows no field of a message but the length in its frame. Replies come in order, so a connection that
 * owes a reply nobody waits for is closed, never used again.
 */
import { type Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import { NetworkError, ProviderError, toProviderError } from "../errors.ts";
import type { ServerAddress } from "../net/address.ts";
import { dialTls } from "../net/dial.ts";
import { describeSocketError } from "../net/socket-errors.ts";
import type { Connection, Exchange } from "../upstream/connection.ts";
import { createFramer } from "./ttlv/framer.ts";

/** How a connection is made. */
export interface ConnectionOptions {
  readonly endpoint: ServerAddress;
  /** Certificate, key and CA. */
  readonly secureContext: SecureContext;
  /** Ends the dial; has no effect once the connection is there. */
  readonly signal: AbortSignal;
  /** Longest message to accept, in bytes. */
  readonly maxMessageBytes: number;
  /** Which of the addresses of its name to try first, counted from 0 and round again. Default: 0. */
  readonly nthAddress?: number | undefined;
  /** Takes a function that says what the dial waits for. */
  readonly onStage?: ((waitsFor: () => string) => void) | undefined;
  /** A TLS session to resume. */
  readonly session?: Buffer | undefined;
  /** Takes each session that the server gives. */
  readonly onSession?: ((session: Buffer) => void) | undefined;
}

/** An open connection that carries whole messages. */
export interface MessageConnection extends Connection {
  readonly endpoint: ServerAddress;
  /**
   * Sends a whole message and waits for the whole reply. Not before the last exchange has ended. The reply rejects with
   * CLOSED or TLS where the connection is lost, KMIP_FRAME_TOO_LARGE or TTLV_* where what comes back is no message, and
   * the reason where it is aborted: the connection is closed after each. INTERNAL where the last exchange has not ended.
   */
  exchange(message: Uint8Array): Exchange<Uint8Array>;
}

/**
 * Connects, and does the TLS handshake with the server's name verified. Where this rejects, the socket is closed already.
 * @throws CONNECT, TLS; TIMEOUT (connect), or what `signal` was aborted with.
 */
export async function openConnection(options: ConnectionOptions): Promise<MessageConnection> {
  return createConnection(await dialTls({ ...options, ...options.endpoint }), options);
}

interface Pending {
  readonly resolve: (reply: Uint8Array) => void;
  readonly reject: (error: ProviderError) => void;
}

/** Wraps a socket whose handshake is done. */
function createConnection(socket: Socket, options: ConnectionOptions): MessageConnection {
  const { endpoint, maxMessageBytes } = options;
  const framer = createFramer({ maxMessageBytes });
  const isResumed = socket instanceof TLSSocket && socket.isSessionReused();
  const protocol = socket instanceof TLSSocket ? (socket.getProtocol() ?? "TLS") : "no TLS";
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<ProviderError>();
  let current: Pending | undefined;
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
    if (current === undefined) return fail(unexpected(endpoint, "sent bytes without a request"));
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

  const begin = (message: Uint8Array): Promise<Uint8Array> => {
    if (reason !== undefined) return Promise.reject(reason);
    if (current !== undefined)
      return Promise.reject(new ProviderError("INTERNAL", "the connection is already waiting for a reply"));
    return new Promise((resolve, reject) => {
      current = { resolve, reject };
      socket.write(message);
    });
  };

  return {
    endpoint,
    agreed: isResumed ? `${protocol} resumed` : protocol,
    capacity: 1,
    isResumed,
    closed,
    get isOpen() {
      return reason === undefined && !socket.destroyed;
    },
    destroy: fail,
    exchange: (message) => {
      const reply = begin(message);
      const own = current;
      return {
        reply,
        abort: (why) => {
          if (own !== undefined && own === current) fail(why);
        },
      };
    },
  };
}

function unexpected(endpoint: ServerAddress, what: string): ProviderError {
  return new ProviderError("KMIP_UNEXPECTED", `${endpoint.name} ${what}: the connection is closed`, {
    details: { endpoint: endpoint.name },
  });
}

/**
 * The peer hung up. In TLS 1.3 a client's handshake ends before the server has looked at its certificate, so a
 * server that refuses it without an alert is one that hangs up before its first byte; one that restarts can be too.
 */
function closedByPeer(
  endpoint: ServerAddress,
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

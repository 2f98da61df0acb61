/**
 * A TLS connection to a server, for every protocol: the name is resolved, the addresses are tried in turn, and the
 * server's certificate and name are verified. Also plain TCP, for tests on loopback only.
 */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type SecureContext, TLSSocket } from "node:tls";
import { ProviderError, TimeoutError } from "../errors.ts";
import type { Proxy } from "./address.ts";
import { tlsStage, watchDial } from "./dial-stage.ts";
import { lookupInTurn } from "./dns-lookup.ts";
import { openTunnel } from "./proxy.ts";
import { describeDialError } from "./socket-errors.ts";
import { serverVerification } from "./tls.ts";

/** After this long without a byte the kernel asks whether the peer is still there. */
const keepAliveAfterMs = 30_000;

/** How a dial is made. */
export interface DialTlsOptions {
  /** `host:port`, for messages. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Certificate, key and CA; undefined: no TLS at all. */
  readonly secureContext: SecureContext | undefined;
  /** The name to send as SNI, where it is no IP address, and to verify. */
  readonly serverName: string;
  /** Connect through this proxy. Default: directly. */
  readonly proxy?: Proxy | undefined;
  /** Protocols to offer, as `h2`. Default: none. */
  readonly alpn?: readonly string[] | undefined;
  /** Ends the dial; has no effect once it is done. */
  readonly signal: AbortSignal;
  /** Which address of the name to try first, counted from 0 and round again. Default: 0. */
  readonly nthAddress?: number | undefined;
  /** Takes a function that says what the dial waits for, as soon as it has begun. */
  readonly onStage?: ((waitsFor: () => string) => void) | undefined;
  /** A TLS session to resume. */
  readonly session?: Buffer | undefined;
  /** Takes each session that the server gives. */
  readonly onSession?: ((session: Buffer) => void) | undefined;
}

/**
 * Connects, and does the TLS handshake. Where this rejects, the socket is closed already.
 * @throws CONNECT, TLS; TIMEOUT (connect) where `signal` aborts, or the ProviderError that it was aborted with
 */
export async function dialTls(options: DialTlsOptions): Promise<Socket> {
  const { signal, proxy, secureContext } = options;
  if (signal.aborted) throw abortReason(options, "not begun");
  const tcp = await (proxy === undefined ? reach(options) : tunnelOf(proxy, options));
  tcp.setNoDelay(true);
  tcp.setKeepAlive(true, keepAliveAfterMs);
  return secureContext === undefined ? tcp : shakeHands(tcp, secureContext, options);
}

async function reach(options: DialTlsOptions): Promise<Socket> {
  const { host, port, nthAddress = 0 } = options;
  const socket = connectTcp({ host, port, lookup: lookupInTurn(nthAddress) });
  const waitsFor = watchDial(socket, host);
  options.onStage?.(waitsFor);
  await connected(socket, options, waitsFor);
  return socket;
}

/** The handshake has a socket of its own beneath it, for only that counts the bytes of a handshake that failed. */
async function shakeHands(
  tcp: Socket,
  secureContext: SecureContext,
  options: DialTlsOptions,
): Promise<TLSSocket> {
  const { alpn, session, onSession } = options;
  const socket = connectTls({
    socket: tcp,
    ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
    secureContext,
    ...serverVerification(options),
    session,
  });
  options.onStage?.(() => tlsStage);
  await connected(socket, options, () => tlsStage, tcp);
  watchSessions(socket, onSession);
  return socket;
}

/** A tunnel through a proxy; one that is made too late is closed. */
async function tunnelOf(proxy: Proxy, options: DialTlsOptions): Promise<Socket> {
  const { signal } = options;
  const tunnel = openTunnel(proxy, options);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => {
    tunnel.then((late) => late.destroy()).catch(() => undefined);
    reject(abortReason(options, `no tunnel through the proxy ${proxy.name}`));
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([tunnel, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Resolves once the peer is there, and verified where this is TLS over `tcp`; rejects once the socket is closed. */
function connected(
  socket: Socket,
  options: DialTlsOptions,
  waitsFor: () => string,
  tcp = socket,
): Promise<void> {
  const { signal, name } = options;
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    const onAbort = (): void => {
      socket.destroy(abortReason(options, waitsFor()));
    };
    const onError = (error: Error): void => {
      failure ??= error;
    };
    const onClose = (): void => {
      signal.removeEventListener("abort", onAbort);
      reject(failure instanceof ProviderError ? failure : describeDialError(failure, name, tcp.bytesRead));
    };
    socket.on("error", onError);
    socket.once("close", onClose);
    socket.once(socket instanceof TLSSocket ? "secureConnect" : "connect", () => {
      signal.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      socket.off("close", onClose);
      resolve();
    });
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** Sessions are passed on only here, after the peer was verified: a resumed handshake does not verify it again. */
function watchSessions(socket: TLSSocket, onSession: DialTlsOptions["onSession"]): void {
  if (onSession === undefined) return;
  const session = socket.getSession();
  if (session !== undefined && socket.getProtocol() !== "TLSv1.3") onSession(session);
  socket.on("session", onSession);
}

function abortReason({ signal, name }: DialTlsOptions, stage: string): ProviderError {
  const reason: unknown = signal.reason;
  if (reason instanceof ProviderError && reason.code !== "TIMEOUT") return reason;
  return new TimeoutError("connect", `${name} does not answer (${stage})`, { cause: reason });
}

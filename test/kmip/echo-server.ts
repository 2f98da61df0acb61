/**
 * A server for tests of the transport: real mutual TLS, and what it does with each message is the test's to
 * say. Unless told otherwise it sends every message back. Knows no KMIP: the transport does not either.
 */
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { createServer, type TlsOptions, type TLSSocket } from "node:tls";
import { createFramer } from "../../src/kmip/ttlv/framer.ts";
import type { TlsMaterial } from "../../src/net/tls.ts";
import { type Authority, type CertificateOptions, createAuthority } from "../devkms/certificates.ts";

/** What a server does with a message: the default sends it back. */
export type OnMessage = (message: Uint8Array, socket: TLSSocket) => void;

/** How an echo server is started. */
export interface EchoServerOptions {
  readonly onMessage?: OnMessage;
  /** What its certificate says. Default: for 127.0.0.1, ::1 and localhost. */
  readonly certificate?: Partial<CertificateOptions>;
  /** Who issued its certificate. Default: {@link authority}. */
  readonly issuer?: Authority;
  /** Options of TLS beyond the certificate. */
  readonly tls?: TlsOptions;
  /** Default: 127.0.0.1. */
  readonly host?: string;
  readonly port?: number;
}

/** A running server. */
export interface EchoServer extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  readonly port: number;
  onMessage: OnMessage;
  /** TLS connections that are open, and the most that ever were. */
  connections(): number;
  mostConnections(): number;
  /** TCP connections whose TLS handshake is under way, at most so far. */
  mostHandshakes(): number;
  /** All TCP connections accepted so far. */
  accepted(): number;
  /** Common names of the clients of the open connections. */
  clients(): string[];
  messages(): number;
  /** Resets every connection. */
  cut(): void;
  /** Ends, with every connection reset; the port is free when this resolves. */
  close(): Promise<void>;
}

/** One authority for a whole test file. */
export const authority: Authority = await createAuthority();

/** Sends the message back. */
export const echo: OnMessage = (message, socket) => {
  socket.write(message);
};

/** Replies that wait for the test's word. */
export interface HeldReplies {
  readonly onMessage: OnMessage;
  /** Sends back what has come so far. */
  release(): void;
}

/** Makes an `onMessage` that keeps every message until `release`. */
export function holdReplies(): HeldReplies {
  const held: (() => void)[] = [];
  return {
    onMessage: (message, socket) => held.push(() => echo(message, socket)),
    release: () => {
      for (const reply of held.splice(0)) reply();
    },
  };
}

/** A message of `size` bytes, the header included, that a framer takes; `mark` is in it. */
export function messageOf(mark = 0, size = 64): Uint8Array {
  const message = new Uint8Array(size);
  const view = new DataView(message.buffer);
  view.setUint32(0, 0x42007801);
  view.setUint32(4, size - 8);
  if (size >= 16) view.setUint32(8, mark);
  return message;
}

/** The mark in a message of {@link messageOf}. */
export function markOf(message: Uint8Array): number {
  return new DataView(message.buffer, message.byteOffset).getUint32(8);
}

/** TLS material of a client, by default issued by {@link authority} and trusting it. */
export async function clientMaterial(
  options: Partial<CertificateOptions> = {},
  issuer = authority,
  trusted = authority,
): Promise<TlsMaterial> {
  const { cert, key } = await issuer.issue({ commonName: "client", client: true, ...options });
  return {
    cert: Buffer.from(cert),
    key: Buffer.from(key),
    ca: Buffer.from(trusted.caPem),
    fingerprint: options.commonName ?? "client",
    notAfter: [],
  };
}

/** Starts a server on a free port, unless told otherwise. */
export async function startEchoServer(options: EchoServerOptions = {}): Promise<EchoServer> {
  const issued = await (options.issuer ?? authority).issue({
    commonName: "server",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1", "::1"],
    server: true,
    ...options.certificate,
  });
  const raw = new Set<Socket>();
  const open = new Set<TLSSocket>();
  let accepted = 0;
  let messages = 0;
  let handshakes = 0;
  let mostHandshakes = 0;
  let mostConnections = 0;
  const server = createServer({
    ...issued,
    ca: authority.caPem,
    requestCert: true,
    rejectUnauthorized: true,
    ...options.tls,
  });
  server.on("connection", (socket: Socket) => {
    accepted += 1;
    raw.add(socket);
    socket.on("close", () => raw.delete(socket)).on("error", () => {});
    handshakes += 1;
    mostHandshakes = Math.max(mostHandshakes, handshakes);
  });
  const onHandshakeEnd = (): void => {
    handshakes -= 1;
  };
  server.on("tlsClientError", onHandshakeEnd);
  server.on("secureConnection", (socket) => {
    onHandshakeEnd();
    open.add(socket);
    mostConnections = Math.max(mostConnections, open.size);
    const framer = createFramer();
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.on("close", () => open.delete(socket));
    socket.on("data", (chunk: Buffer) => {
      for (const message of framer.push(chunk)) {
        messages += 1;
        self.onMessage(message, socket);
      }
    });
  });
  const host = options.host ?? "127.0.0.1";
  server.listen(options.port ?? 0, host);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const cut = (): void => {
    for (const socket of raw) socket.resetAndDestroy();
  };
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    cut();
    await closed;
  };
  const self: EchoServer = {
    address: `${host.includes(":") ? `[${host}]` : host}:${port}`,
    port,
    onMessage: options.onMessage ?? echo,
    connections: () => open.size,
    mostConnections: () => mostConnections,
    mostHandshakes: () => mostHandshakes,
    accepted: () => accepted,
    clients: () => [...open].map((socket) => String(socket.getPeerCertificate().subject?.CN ?? "resumed")),
    messages: () => messages,
    cut,
    close,
    [Symbol.asyncDispose]: close,
  };
  return self;
}

/** Resolves as soon as `condition` holds; looked at every few milliseconds, for want of an event. */
export async function eventually(condition: () => boolean, what: string, withinMs = 5000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 2);
    });
  }
}

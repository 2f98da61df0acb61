/**
 * The KMIP face of the embedded KMS: mutual TLS 1.2 or newer (KMIP Profiles 1.4, section 3.1) on the loopback
 * interface, one request after another on each connection, and the faults that tests switch on.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { createServer, type TLSSocket } from "node:tls";
import { createFramer, type Framer } from "../../src/kmip/ttlv/framer.ts";
import { decodeItem } from "../../src/kmip/ttlv/reader.ts";
import { encodeItem } from "../../src/kmip/ttlv/writer.ts";
import { parseVersion, type VersionText } from "../../src/kmip/version.ts";
import { type Fault, type Faults, type Peer, peerFault, type Refusal, takeFault } from "./faults.ts";
import { createFront } from "./front.ts";
import type { KeyStore } from "./key-store.ts";
import {
  answer,
  isSpoken,
  type KmipServerState,
  operationsOf,
  receive,
  refuseMessage,
} from "./kmip-batch.ts";

/** PEM texts of a TLS server that asks for client certificates. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** What client certificates must chain to. */
  readonly ca: string;
}

/** How the KMIP face is started. */
export interface KmipFaceOptions {
  readonly keys: KeyStore;
  readonly faults: Faults;
  readonly tls: ServerTls;
  /** Default: a free one. */
  readonly port?: number;
  /** The best version that this server speaks. Default: 1.4. */
  readonly maxVersion?: VersionText;
}

/** A KMIP server that listens. */
export interface KmipFace {
  readonly port: number;
  /** How often each operation was asked for, by its name as `GetAttributes`; a batch counts each of its items. */
  requests(): Readonly<Record<string, number>>;
  /** How many messages were received, and how often each batch, as `Locate+GetAttributes`. */
  messages(): Readonly<Record<string, number>>;
  /** Connections open now, with their handshake done. */
  connections(): number;
  /** Connections accepted since the start, handshakes that failed included. */
  accepted(): number;
  /** Closes every connection; gives how many. */
  cutConnections(): number;
  /** New connections get this certificate, and must show a client certificate of this authority. */
  setTls(tls: ServerTls): void;
  /** Closes everything; nothing listens when this resolves. */
  close(): Promise<void>;
}

const garbageBytes = 64;

/** Bytes that cannot begin a KMIP message. */
function garbage(): Buffer {
  const bytes = randomBytes(garbageBytes);
  bytes[0] = 0;
  return bytes;
}

interface Reply {
  readonly bytes?: Uint8Array;
  readonly end?: boolean;
}

/** What the KMIP face keeps of a connection. */
interface KmipPeer extends Peer {
  /** The reply to the request before, of a server whose replies slip. */
  heldBack: Uint8Array | undefined;
}

/** What goes back for a request, the fault that befalls it included. */
function replyTo(
  message: Uint8Array,
  peer: KmipPeer,
  state: KmipServerState,
  count: (operations: string[]) => void,
): Reply {
  const received = receive(message, state.maxVersion);
  if ("refusal" in received) return { bytes: received.refusal, end: true };
  const { request } = received;
  const operations = operationsOf(request);
  count(operations);
  const { faults } = state;
  if (faults.noBatches && operations.length > 1) return { end: true };
  const { versionRefusal, closesAfterReply } = faults.kmip;
  if (!isSpoken(request, state)) {
    if (versionRefusal === "silence") return {};
    if (versionRefusal === "hang-up") return { end: true };
    const end = versionRefusal === "hang-up after a word" || closesAfterReply;
    return { bytes: answer(request, state), end };
  }
  const fault: Fault | undefined = takeFault(faults, "kmip", operations);
  if (fault === "silent") return {};
  if (fault === "closeAfterRequest") return { end: true };
  if (fault === "garbage") return { bytes: garbage() };
  const answered = answer(request, state, fault === "refuse" ? faults.refuse : refusalOfPeer(peer, faults));
  const { rewrites } = faults.kmip;
  const response = rewrites === undefined ? answered : encodeItem(rewrites(decodeItem(answered), operations));
  if (fault === "halfFrame") return { bytes: response.subarray(0, response.length >>> 1) };
  return { bytes: faults.kmip.slips ? slipped(peer, response) : response, end: closesAfterReply };
}

/** The refusal that every request on such a connection gets. */
function refusalOfPeer(peer: Peer, faults: Faults): Refusal | undefined {
  const fault = peerFault(peer, faults);
  if (fault === "denied") return { reason: "PermissionDenied" };
  return fault === "stale" ? { reason: "GeneralFailure", message: "the session has ended" } : undefined;
}

function slipped(peer: KmipPeer, response: Uint8Array): Uint8Array {
  const before = peer.heldBack ?? response;
  peer.heldBack = response;
  return before;
}

function framesOf(framer: Framer, chunk: Uint8Array): Uint8Array[] | { readonly error: unknown } {
  try {
    return framer.push(chunk);
  } catch (error) {
    return { error };
  }
}

/** Serves one connection to its end. A request waits until the one before it is answered, as does the socket. */
function serve(socket: TLSSocket, state: KmipServerState, count: (operations: string[]) => void): void {
  const framer = createFramer();
  const peer: KmipPeer = {
    openedAt: performance.now(),
    isResumed: socket.isSessionReused(),
    heldBack: undefined,
  };
  let hasEnded = false;

  const send = ({ bytes, end }: Reply): void => {
    if (bytes !== undefined && !socket.destroyed) socket.write(bytes);
    if (end !== true) return;
    hasEnded = true;
    socket.destroySoon();
  };
  const sendLater = async (reply: Reply, rest: readonly Uint8Array[]): Promise<void> => {
    socket.pause();
    await wait(state.faults.delayMs);
    send(reply);
    answerAll(rest);
  };
  const answerAll = (frames: readonly Uint8Array[]): void => {
    for (const [index, frame] of frames.entries()) {
      if (hasEnded) return;
      const reply = replyTo(frame, peer, state, count);
      if (state.faults.delayMs > 0) return void sendLater(reply, frames.slice(index + 1));
      send(reply);
    }
    if (socket.isPaused()) socket.resume();
  };

  socket.on("data", (chunk: Buffer) => {
    if (hasEnded) return;
    const frames = framesOf(framer, chunk);
    if (Array.isArray(frames)) answerAll(frames);
    else send({ bytes: refuseMessage(state.maxVersion, frames.error), end: true });
  });
}

function increment(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}

/** Starts the KMIP face. */
export async function startKmipFace(options: KmipFaceOptions): Promise<KmipFace> {
  const { keys, faults } = options;
  const state = { keys, faults, maxVersion: parseVersion(options.maxVersion ?? "1.4") };
  const requests: Record<string, number> = {};
  const messages: Record<string, number> = {};
  const count = (operations: string[]): void => {
    for (const operation of operations) increment(requests, operation);
    increment(messages, operations.join("+"));
  };

  const raw = new Set<Socket>();
  const secure = new Set<TLSSocket>();
  let accepted = 0;
  const server = createServer({
    ...options.tls,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: "TLSv1.2",
  });
  const listener = createFront(server, faults, (socket) => {
    accepted += 1;
    raw.add(socket);
    socket.on("close", () => raw.delete(socket));
  });
  // Without a listener nothing happens either; a client that is refused is the client's to report.
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  server.on("secureConnection", (socket) => {
    secure.add(socket);
    socket.on("close", () => secure.delete(socket)).on("error", () => socket.destroy());
    serve(socket, state, count);
  });
  listener.listen(options.port ?? 0, "127.0.0.1");
  await once(listener, "listening");

  const cutConnections = (): number => {
    const connections = secure.size;
    for (const socket of [...secure, ...raw]) socket.destroy();
    return connections;
  };
  return {
    port: (listener.address() as AddressInfo).port,
    requests: () => ({ ...requests }),
    messages: () => ({ ...messages }),
    connections: () => secure.size,
    accepted: () => accepted,
    cutConnections,
    setTls: (tls) => server.setSecureContext({ ...tls, minVersion: "TLSv1.2" }),
    close() {
      const closed = new Promise<void>((resolve) => void listener.close(() => resolve()));
      cutConnections();
      return closed;
    },
  };
}

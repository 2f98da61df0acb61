/** What a scenario's server can do with a request, whatever it speaks, and what was seen of its connections. */
import { type EventEmitter, once } from "node:events";
import {
  createServer as createTcpServer,
  connect,
  type AddressInfo,
  type Server,
  type Socket,
} from "node:net";

/** A request, and what can be done with it: nothing at all, or one of these. */
export interface TestRequest {
  /** It is what a new connection or a health check begins with: Discover Versions. Never true over REST. */
  readonly isFirst: boolean;
  /** Its TLS session was resumed. */
  readonly isResumed: boolean;
  /** How long its connection has been open, in ms. */
  readonly ageMs: number;
  answer(): void;
  /** Answers, and ends the connection: FIN, `connection: close`, or GOAWAY that leaves the socket open. */
  answerAndEnd(): void;
  /** Sends a byte of the reply each 100 ms. */
  drip(): void;
  /** Sends 103 Early Hints each 100 ms; `drip` where there are none. */
  hint(): void;
  /** The server cannot serve now, as it says: General Failure, or 503. */
  refuseForState(): void;
  /** A refusal that may be about the connection: General Failure, or 401. */
  refuseConnection(): void;
  /** A refusal of the rights: Permission Denied, or 403. */
  refuseRights(): void;
  garbage(): void;
  /** Ends the connection. */
  close(): void;
  /** Resets the connection. */
  reset(): void;
}

/** How a server can end a connection. */
export interface Ending {
  close(): void;
  reset(): void;
}

/** A server whose behaviour the test decides, request by request. */
export interface TestServer extends AsyncDisposable {
  /** As the client is told: `host:port`, or a URL. */
  readonly address: string;
  readonly port: number;
  onRequest: (request: TestRequest) => void;
  /** What becomes of a connection whose handshake is done, before any request. Default: nothing. */
  onConnection: (connection: Ending) => void;
  /** Sockets that are open, the most that ever were, and all accepted so far. */
  connections(): number;
  mostConnections(): number;
  accepted(): number;
  /** Requests so far, without first ones. */
  requests(): number;
  /** Resets every connection. */
  cut(): void;
  close(): Promise<void>;
}

/** What every server counts and closes, whatever it speaks. */
export interface Counted {
  connections(): number;
  mostConnections(): number;
  accepted(): number;
  cut(): void;
  close(): Promise<void>;
  /** How a connection is ended, given its TLS socket. */
  endingOf(socket: Socket): Ending;
}

/** Counts the sockets of a server that listens. */
export function countSockets(server: EventEmitter & Pick<Server, "close">): Counted {
  const open = new Set<Socket>();
  let most = 0;
  let accepted = 0;
  let isClosed = false;
  server.on("connection", (socket: Socket) => {
    accepted += 1;
    open.add(socket);
    most = Math.max(most, open.size);
    socket.on("close", () => open.delete(socket)).on("error", () => undefined);
    socket.setNoDelay(true);
  });
  const cut = (): void => {
    for (const socket of open) socket.resetAndDestroy();
  };
  return {
    connections: () => open.size,
    mostConnections: () => most,
    accepted: () => accepted,
    cut,
    endingOf: (secure) => {
      const from = secure.remotePort;
      return {
        close: () => void secure.end(),
        reset: () => {
          for (const socket of open) if (socket.remotePort === from) socket.resetAndDestroy();
        },
      };
    },
    close: async () => {
      if (isClosed) return;
      isClosed = true;
      const closed = once(server, "close");
      server.close();
      cut();
      await closed;
    },
  };
}

/** Calls `step` each 100 ms until the socket is gone or it says false. */
export function each100ms(socket: { readonly destroyed: boolean }, step: () => boolean): void {
  const timer = setInterval(() => {
    if (socket.destroyed || !step()) clearInterval(timer);
  }, 100);
}

/** A relay that resets connections whose ClientHello offers a session to resume (TLS 1.3: pre_shared_key). */
export interface ResumptionBreaker extends AsyncDisposable {
  readonly port: number;
  /** ClientHellos with a session so far, and without. */
  offered(): number;
  full(): number;
  isBreaking: boolean;
}

const preSharedKey = 41;

/** Whether a TLS record with a whole ClientHello has the extension pre_shared_key (RFC 8446, section 4.2.11). */
function offersSession(hello: Buffer): boolean {
  let at = 5 + 4 + 2 + 32;
  at += 1 + hello.readUInt8(at);
  at += 2 + hello.readUInt16BE(at);
  at += 1 + hello.readUInt8(at);
  const end = at + 2 + hello.readUInt16BE(at);
  for (at += 2; at < end; at += 4 + hello.readUInt16BE(at + 2))
    if (hello.readUInt16BE(at) === preSharedKey) return true;
  return false;
}

/** Starts one before a server on loopback. */
export async function startResumptionBreaker(port: number): Promise<ResumptionBreaker> {
  let offered = 0;
  let full = 0;
  const server = createTcpServer((near) => {
    near.on("error", () => undefined);
    near.once("data", (hello: Buffer) => {
      const isOffered = offersSession(hello);
      if (isOffered) offered += 1;
      else full += 1;
      if (isOffered && breaker.isBreaking) return void near.destroy();
      const far = connect(port, "127.0.0.1").on("error", () => near.destroy());
      far.write(hello);
      near.pipe(far).pipe(near);
      near.on("close", () => far.destroy());
      far.on("close", () => near.destroy());
    });
  });
  const counted = countSockets(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const breaker: ResumptionBreaker = {
    port: (server.address() as AddressInfo).port,
    offered: () => offered,
    full: () => full,
    isBreaking: true,
    [Symbol.asyncDispose]: counted.close,
  };
  return breaker;
}

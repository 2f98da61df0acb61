/**
 * A TCP relay to stand before a KMS: it adds a delay each way, and cuts, hangs or leaves on command, which is what
 * networks do and servers cannot be asked to do. Knows nothing of what it carries.
 */
import { once } from "node:events";
import net from "node:net";
import { type FineTimer, setFineTimer } from "./fine-timer.ts";

/** A source is paused while so much of its data waits. */
const maxWaitingBytes = 4 << 20;

/** How a {@link Relay} is made. */
export interface RelayOptions {
  /** One way, in ms; a round trip takes twice as long more. Default: 0. */
  readonly delayMs?: number;
  /** Port to listen on. Default: a free one. */
  readonly port?: number;
}

/** A relay before one target. */
export interface Relay {
  /** `127.0.0.1:PORT`, the same after stop and start. */
  readonly address: string;
  readonly port: number;
  /** One way, in ms; counts from the next chunk on. */
  delayMs: number;
  /** Connections open now. */
  connections(): number;
  /** Connections accepted since the start. */
  accepted(): number;
  /** Resets every connection, both ways; gives how many. */
  cut(): number;
  /**
   * Swallows whatever comes on the connections open now, with no FIN and no RST, for as long as they live. Without
   * a number: on all of them, and on every new one until {@link resume}; with one: on so many of the oldest only.
   */
  hang(count?: number): void;
  /** New connections go through again. What hung stays lost, as behind a firewall that has forgotten it. */
  resume(): void;
  /** Resets every connection and listens no more: connecting is refused. */
  stop(): Promise<void>;
  /** Listens again on the same port. */
  start(): Promise<void>;
  /** Ends; every socket is closed when this resolves. */
  close(): Promise<void>;
}

interface Pair {
  readonly client: net.Socket;
  readonly upstream: net.Socket;
  hung: boolean;
}

type Waiting = { readonly due: number; readonly chunk: Buffer | "end" };

/** Carries `from` to `to`, each chunk and the end so much later, in order. */
function carry(from: net.Socket, to: net.Socket, pair: Pair, delayMs: () => number): void {
  const waiting: Waiting[] = [];
  let waitingBytes = 0;
  let timer: FineTimer | undefined;

  const release = (): void => {
    timer = undefined;
    if (to.destroyed) return;
    for (let next = waiting[0]; next !== undefined && next.due <= performance.now(); next = waiting[0]) {
      waiting.shift();
      if (next.chunk === "end") to.end();
      else {
        waitingBytes -= next.chunk.length;
        if (!to.write(next.chunk)) break;
      }
    }
    if (waitingBytes <= maxWaitingBytes && from.isPaused()) from.resume();
    if (!to.writableNeedDrain) schedule();
  };
  const schedule = (): void => {
    const next = waiting[0];
    if (next !== undefined) timer ??= setFineTimer(release, Math.max(0, next.due - performance.now()));
  };
  const put = (chunk: Buffer | "end"): void => {
    if (pair.hung) return;
    waiting.push({ due: performance.now() + delayMs(), chunk });
    if (chunk !== "end") waitingBytes += chunk.length;
    if (waitingBytes > maxWaitingBytes) from.pause();
    // Without a delay a timer would add one.
    if (delayMs() === 0 && timer === undefined && !to.writableNeedDrain) release();
    else schedule();
  };
  from.on("data", put);
  from.on("end", () => put("end"));
  to.on("drain", schedule);
  to.on("close", () => timer?.cancel());
}

function createPair(client: net.Socket, target: net.TcpNetConnectOpts): Pair {
  const upstream = net.connect({ ...target, allowHalfOpen: true, noDelay: true });
  return { client, upstream, hung: false };
}

function destroyPair(pair: Pair): void {
  pair.client.resetAndDestroy();
  pair.upstream.destroy();
}

function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

/** Starts a relay on a free port of the loopback interface before `target`, a `host:port`. */
export async function startRelay(target: string, options: RelayOptions = {}): Promise<Relay> {
  const pairs = new Set<Pair>();
  let accepted = 0;
  let hanging = false;

  const accept = (client: net.Socket): void => {
    accepted += 1;
    const pair = createPair(client, splitAddress(target));
    pair.hung = hanging;
    pairs.add(pair);
    for (const [socket, other] of [
      [pair.client, pair.upstream],
      [pair.upstream, pair.client],
    ] as const) {
      carry(socket, other, pair, () => relay.delayMs);
      socket.on("error", () => destroyPair(pair));
      socket.on("close", () => {
        // A hung connection tells neither side what became of the other.
        if (!pair.hung || socket === pair.client) other.destroySoon();
        if (pair.client.destroyed && pair.upstream.destroyed) pairs.delete(pair);
      });
    }
  };
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, accept);
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;

  const stop = async (): Promise<void> => {
    const closed = [...pairs].flatMap(({ client, upstream }) =>
      [client, upstream].filter((socket) => !socket.closed).map((socket) => once(socket, "close")),
    );
    for (const pair of pairs) destroyPair(pair);
    if (server.listening) closed.push(new Promise((resolve) => void server.close(() => resolve([]))));
    await Promise.all(closed);
  };
  const relay: Relay = {
    address: `127.0.0.1:${port}`,
    port,
    delayMs: options.delayMs ?? 0,
    connections: () => pairs.size,
    accepted: () => accepted,
    cut() {
      const count = pairs.size;
      for (const pair of pairs) destroyPair(pair);
      return count;
    },
    hang(count) {
      hanging = count === undefined;
      for (const pair of [...pairs].slice(0, count)) pair.hung = true;
    },
    resume() {
      hanging = false;
    },
    stop,
    async start() {
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
    },
    close: stop,
  };
  return relay;
}

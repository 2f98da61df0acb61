/**
 * What the tests of the engine share: connections to echo servers, one request through them, and a request that holds
 * its connection for as long as the test wants.
 */
import assert from "node:assert/strict";
import { ProviderError, toProviderError } from "../../src/errors.ts";
import { type MessageConnection, openConnection } from "../../src/kmip/connection.ts";
import { parseKmipAddress, type ServerAddress } from "../../src/net/address.ts";
import { secureContextOf, type TlsMaterial } from "../../src/net/tls.ts";
import type { DialOptions, Exchange, Transport } from "../../src/upstream/connection.ts";
import { abortError } from "../../src/upstream/context.ts";
import type { KmsEvent } from "../../src/upstream/events.ts";
import { createLearned } from "../../src/upstream/learned.ts";
import { anyConnection, type Lease, Pool, type PoolOptions, type Wanted } from "../../src/upstream/pool.ts";
import { createUpstream, type Upstream, type UpstreamOptions } from "../../src/upstream/upstream.ts";
import { clientMaterial, markOf, messageOf } from "../kmip/echo-server.ts";

/** The client's certificate of all these tests. */
export const material: TlsMaterial = await clientMaterial();

/** Makes a new connection ready; where it rejects, the dial has failed. */
export type Prepare = (connection: MessageConnection, signal: AbortSignal) => Promise<unknown>;

/** How the connections are made. */
export type TestOptions = Partial<UpstreamOptions<ServerAddress, MessageConnection>> & {
  /** Default: one message there and back, of mark 0. */
  readonly prepare?: Prepare;
};

/** The connections to servers, with the events so far. */
export interface TestUpstream extends Upstream<MessageConnection>, AsyncDisposable {
  readonly events: KmsEvent[];
}

/** A message on a connection, and its reply. */
export async function exchangeOn(
  connection: MessageConnection,
  message: Uint8Array,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { reply, abort } = connection.exchange(message);
  const onAbort = (): void => abort(abortError(signal, "response", "waiting for the reply"));
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  return reply.finally(() => signal.removeEventListener("abort", onAbort));
}

/** One message of mark 0, there and back. */
export const greet: Prepare = (connection, signal) => exchangeOn(connection, messageOf(0), signal);

/** Whole messages, and what `prepare` does on each new connection. */
export function echoTransport(prepare: Prepare = greet): Transport<ServerAddress, MessageConnection> {
  const dial = async (endpoint: ServerAddress, options: DialOptions): Promise<MessageConnection> => {
    const connection = await openConnection({ endpoint, maxMessageBytes: 4096, ...options });
    try {
      options.onStage(() => "no reply to the first message");
      await prepare(connection, options.signal);
      if (!connection.isOpen) throw await connection.closed;
      return connection;
    } catch (error) {
      connection.destroy(toProviderError(error));
      await connection.closed;
      throw error;
    }
  };
  return { dial, check: (connection) => connection.exchange(messageOf(0)) };
}

/** Makes the connections to the servers, with TLS material set. */
export function connectTo(
  servers: readonly { readonly address: string }[],
  { prepare, ...options }: TestOptions = {},
): TestUpstream {
  const events: KmsEvent[] = [];
  const upstream = createUpstream({
    servers: servers.map(({ address }) => parseKmipAddress(address)),
    transport: echoTransport(prepare),
    maxConnections: 8,
    onEvent: (event) => events.push(event),
    ...options,
  });
  upstream.setTlsMaterial(material);
  return { ...upstream, events, [Symbol.asyncDispose]: () => upstream.close() };
}

/** A signal that aborts after `ms`. */
export function within(ms: number): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(new DOMException("timed out", "TimeoutError")), ms).unref();
  return controller.signal;
}

/** Sends one message and gives back the mark of its reply. */
export async function send(upstream: TestUpstream, mark: number, ms = 3000): Promise<number> {
  return sendUntil(upstream, mark, within(ms), performance.now() + ms);
}

/** The same, for a caller with a signal of its own. */
export async function sendUntil(
  { call }: TestUpstream,
  mark: number,
  signal: AbortSignal,
  deadline = Infinity,
): Promise<number> {
  const sendOn = (connection: MessageConnection): Exchange<number> => {
    const { reply, abort } = connection.exchange(messageOf(mark));
    return { reply: reply.then(markOf), abort };
  };
  return call({ send: sendOn, verdict: () => "fail" }, { signal, deadline });
}

/** A connection that a call holds. */
export interface Held {
  readonly connection: MessageConnection;
  /** The call is answered. Resolves when it has ended. */
  release(): Promise<void>;
}

/** Makes a call that holds its connection until it is released. It has no deadline: no hedge joins it for a second. */
export function hold({ call }: TestUpstream, signal: AbortSignal = within(3000)): Promise<Held> {
  return new Promise((resolve, reject) => {
    const { promise: reply, resolve: answer, reject: fail } = Promise.withResolvers<void>();
    let isLost = false;
    const sendOn = (connection: MessageConnection): Exchange<void> => {
      if (isLost) throw new ProviderError("INTERNAL", "the held connection was lost");
      const onLost = (reason: ProviderError): void => {
        isLost = true;
        fail(reason);
      };
      void connection.closed.then(onLost);
      resolve({
        connection,
        release: async () => {
          answer();
          await ended.catch(() => undefined);
        },
      });
      return { reply, abort: (reason: ProviderError) => connection.destroy(reason) };
    };
    const ended = call({ send: sendOn, verdict: () => "fail" }, { signal });
    ended.catch(reject);
  });
}

/** Callers that send without pause until `end`, which rejects with the first failure of any. */
export function startLoad(upstream: TestUpstream, callers: number): { end(): Promise<void> } {
  const over = new AbortController();
  const running = Array.from({ length: callers }, async (_, caller) => {
    while (!over.signal.aborted) assert.equal(await send(upstream, caller), caller);
  });
  return {
    end: async () => {
      over.abort();
      await Promise.all(running);
    },
  };
}

/** What was reported of each endpoint: its place in `servers` from 1, whether it is up, whether it is the active one. */
export function healthsOf(
  { events }: TestUpstream,
  servers: readonly { readonly address: string }[],
): [number, boolean, boolean][] {
  return events.flatMap((event) =>
    event.type === "endpoint"
      ? [[1 + servers.findIndex(({ address }) => address === event.endpoint), event.up, event.inUse]]
      : [],
  );
}

/** A pool before one echo server, without an engine above it. */
export interface TestPool extends AsyncDisposable {
  readonly pool: Pool<MessageConnection>;
  /** Waits for a connection. */
  checkOut(signal?: AbortSignal, wanted?: Wanted): Promise<Lease<MessageConnection>>;
}

/** Makes a pool, of eight connections unless told otherwise. */
export function poolOf(
  server: { readonly address: string },
  { prepare, ...options }: Partial<PoolOptions<MessageConnection>> & Pick<TestOptions, "prepare"> = {},
): TestPool {
  const endpoint = parseKmipAddress(server.address);
  const { dial } = echoTransport(prepare);
  const learned = createLearned(() => undefined);
  const pool = new Pool<MessageConnection>({
    name: endpoint.name,
    dial: ({ signal }) =>
      dial(endpoint, {
        secureContext: secureContextOf(material),
        signal,
        nthAddress: 0,
        session: undefined,
        onSession: () => undefined,
        onStage: () => undefined,
        learned,
      }),
    maxConnections: 8,
    maxDials: 2,
    window: () => Infinity,
    idleMs: 60_000,
    maxAgeMs: 60_000,
    repeatMs: 300,
    onOpened: () => undefined,
    onClosed: () => undefined,
    isSingleUse: () => false,
    onUsed: () => undefined,
    ...options,
  });
  return {
    pool,
    checkOut: (signal = within(3000), wanted = anyConnection) =>
      new Promise((resolve, reject) => {
        const onAbort = (): void => {
          stopWaiting();
          reject(abortError(signal, "checkout", "waiting for a connection"));
        };
        signal.addEventListener("abort", onAbort, { once: true });
        const stopWaiting = pool.wait({
          wanted,
          onLease: (lease) => {
            signal.removeEventListener("abort", onAbort);
            resolve(lease);
          },
          onFailure: reject,
        });
      }),
    [Symbol.asyncDispose]: () => pool.close(new ProviderError("SHUTTING_DOWN", "the test is over")),
  };
}

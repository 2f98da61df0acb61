/** What the tests of the pool share: a pool before echo servers, and one request through it. */
import assert from "node:assert/strict";
import type { ConnectionEvent, EndpointEvent } from "../../../src/kmip/events.ts";
import { parseEndpoint } from "../../../src/kmip/endpoint.ts";
import { createPool, type Pool, type PoolOptions } from "../../../src/kmip/pool.ts";
import type { TlsMaterial } from "../../../src/net/tls.ts";
import { clientMaterial, markOf, messageOf } from "../echo-server.ts";

/** The client's certificate of all these tests. */
export const material: TlsMaterial = await clientMaterial();

/** A pool with what it has told so far. */
export interface TestPool extends Pool, AsyncDisposable {
  readonly events: (ConnectionEvent | EndpointEvent)[];
}

/** Makes a pool before the servers, with its material set, whose `prepare` is one message there and back. */
export function poolBefore(
  servers: readonly { readonly address: string }[],
  options: Partial<PoolOptions> = {},
): TestPool {
  const events: (ConnectionEvent | EndpointEvent)[] = [];
  const pool = createPool({
    endpoints: servers.map(({ address }) => parseEndpoint(address)),
    prepare: async (connection, signal) => {
      await connection.exchange(messageOf(0), signal);
      return "echo";
    },
    maxMessageBytes: 4096,
    onEvent: (event) => events.push(event),
    ...options,
  });
  pool.setTlsMaterial(material);
  return { ...pool, events, [Symbol.asyncDispose]: () => pool.close() };
}

/** A signal that aborts after `ms`. */
export function within(ms: number): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(new DOMException("timed out", "TimeoutError")), ms).unref();
  return controller.signal;
}

/** Sends one message on a connection of the pool and gives back the mark of its reply. */
export async function send(pool: Pool, mark: number, signal = within(3000)): Promise<number> {
  const lease = await pool.checkOut(signal);
  try {
    return markOf(await lease.connection.exchange(messageOf(mark), signal));
  } finally {
    lease.release();
  }
}

/** Callers that send without pause until `end`, which rejects with the first failure of any. */
export function startLoad(pool: Pool, callers: number): { end(): Promise<void> } {
  const over = new AbortController();
  const running = Array.from({ length: callers }, async (_, caller) => {
    while (!over.signal.aborted) assert.equal(await send(pool, caller), caller);
  });
  return {
    end: async () => {
      over.abort();
      await Promise.all(running);
    },
  };
}

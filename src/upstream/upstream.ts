/** The connections to one KMS, on one endpoint or several: the whole of upstream/ for a protocol's client. */
import { ProviderError } from "../errors.ts";
import { secureContextOf, type TlsMaterial } from "../net/tls.ts";
import type { CallShared } from "./attempt.ts";
import { Call } from "./call.ts";
import type { Address, Connection, Transport } from "./connection.ts";
import type { CallContext } from "./context.ts";
import { Endpoint, type EndpointLimits } from "./endpoint.ts";
import { Endpoints } from "./endpoints.ts";
import type { ConnectionCounts, ConnectionEvent, Observer } from "./events.ts";
import type { Job } from "./job.ts";
import { createRetryBudget } from "./retry-budget.ts";

/** How the connections are made. */
export interface UpstreamOptions<A extends Address, C extends Connection> extends EndpointLimits {
  /** In order of preference, at least one. */
  readonly servers: readonly A[];
  readonly transport: Transport<A, C>;
  /** Time between two health checks of an endpoint that is not active, in ms. Default 5 s. */
  readonly checkMs?: number | undefined;
  readonly onEvent?: Observer | undefined;
}

/** See above. */
export interface Upstream<C extends Connection> {
  /**
   * Makes a call.
   * @throws what the last attempt failed with; TIMEOUT; CANCELED; OVERLOADED; TLS_FILES before the first material; SHUTTING_DOWN
   */
  call<R>(job: Job<C, R>, context: CallContext): Promise<R>;
  /** New calls use these TLS files; what is in flight finishes. @throws TLS_FILES where they are unusable */
  setTlsMaterial(material: TlsMaterial): void;
  counts(): ConnectionCounts;
  /** What is in flight fails with SHUTTING_DOWN; resolves when every socket is closed. Idempotent. */
  close(): Promise<void>;
}

/** Makes the connections; opens nothing before the first call. */
export function createUpstream<A extends Address, C extends Connection>(
  options: UpstreamOptions<A, C>,
): Upstream<C> {
  const { checkMs = 5_000, transport, onEvent } = options;
  let secureContext: ReturnType<typeof secureContextOf> | undefined;
  let ended: ProviderError | undefined;

  const requireContext = (): ReturnType<typeof secureContextOf> => {
    if (secureContext !== undefined) return secureContext;
    throw new ProviderError("TLS_FILES", "no client certificate has been loaded yet");
  };
  const report = (
    change: ConnectionEvent["change"],
    endpoint: Endpoint<A, C>,
    message: string,
    durationMs?: number,
  ): void => {
    const event = { type: "connection", change, endpoint: endpoint.name, counts: counts(), message } as const;
    onEvent?.(durationMs === undefined ? event : { ...event, durationMs });
  };

  /** A call that never had a connection is an exchange that failed, too. */
  const reportUnsent = ({ code, message }: ProviderError, { uid }: CallContext): void =>
    onEvent?.({
      type: "exchange",
      operation: "Connect",
      endpoint: "",
      outcome: code,
      durationMs: 0,
      requestBytes: 0,
      replyBytes: 0,
      message,
      ...(uid === undefined ? {} : { uid }),
    });

  const all = options.servers.map(
    (address) =>
      new Endpoint<A, C>({
        address,
        transport,
        limits: options,
        checkMs,
        secureContext: requireContext,
        onOpened: (endpoint, { agreed }, durationMs) => report("opened", endpoint, agreed, durationMs),
        onClosed: (endpoint, { message }) => report("closed", endpoint, message),
        onDialFailed: (endpoint, failure, durationMs) => {
          report("failed", endpoint, failure.message, durationMs);
          if (!endpoint.pool.isConnected) endpoints.reportDown(endpoint, failure.message);
        },
        onLearned: ({ name }, message) => onEvent?.({ type: "learned", endpoint: name, message }),
      }),
  );
  const endpoints = new Endpoints<A, C>({
    all,
    checkMs,
    check: (connection, address) => transport.check(connection, address),
    onChange: (event) => onEvent?.(event),
  });
  const shared: CallShared<A, C> = {
    endpoints,
    budget: createRetryBudget(),
    hedges: { count: 0 },
    calls: new Set(),
    onUnsent: reportUnsent,
  };

  const counts = (): ConnectionCounts => {
    const sum = { idle: 0, busy: 0, connecting: 0 };
    for (const { pool } of all) {
      const one = pool.counts();
      sum.idle += one.idle;
      sum.busy += one.busy;
      sum.connecting += one.connecting;
    }
    return sum;
  };

  return {
    call: async <R>(job: Job<C, R>, context: CallContext): Promise<R> => {
      if (ended !== undefined) throw ended;
      requireContext();
      return new Call<A, C, R>(job, context, shared).run();
    },
    setTlsMaterial: (material) => {
      secureContext = secureContextOf(material);
      for (const endpoint of all) endpoint.renew();
    },
    counts,
    close: async () => {
      ended ??= new ProviderError("SHUTTING_DOWN", "the program is ending");
      endpoints.close();
      for (const call of shared.calls) call.fail(ended);
      await Promise.all(all.map(({ pool }) => pool.close(ended as ProviderError)));
    },
  };
}

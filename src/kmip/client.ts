/**
 * A KMIP client: operations in, typed payloads out, over a pool of connections. Each connection agrees on its own
 * version, which decides how a message on it is written. Never asks for key material: operations/ has no Get.
 */
import { KmipResultError, ProviderError, toProviderError } from "../errors.ts";
import { createPatience } from "../upstream/rtt.ts";
import { createSecondChances } from "../upstream/retry-budget.ts";
import type { TlsMaterial } from "../net/tls.ts";
import type { Test } from "./appeals.ts";
import { type Call, createRequest, payloadOf, type RequestOptions } from "./batch.ts";
import type { Connection } from "./connection.ts";
import type { Endpoint } from "./endpoint.ts";
import type { KmipObserver, PoolCounts } from "./events.ts";
import { decodeResponse, encodeRequest, type RequestMessage, type ResponseMessage } from "./messages.ts";
import { createNegotiator, type Discovered } from "./negotiate.ts";
import { discoverVersionsOperation, type OperationDefinition, operations } from "./operations/index.ts";
import { createPool, type PoolOptions } from "./pool.ts";
import { type RequestContext, untilAnswered } from "./tries.ts";
import { dumpItem } from "./ttlv/dump.ts";
import { defaultMaxMessageBytes } from "./ttlv/limits.ts";
import { decodeItem } from "./ttlv/reader.ts";
import { formatVersion, isAtLeast, parseVersion, type ProtocolVersion } from "./version.ts";

/** An operation by its number and its specification name. */
type Needed = Pick<OperationDefinition, "operation" | "name">;

/** How a client is made. What is not given is as in {@link PoolOptions}. */
export interface KmipClientOptions extends Partial<
  Omit<PoolOptions, "endpoints" | "prepare" | "onEvent" | "maxMessageBytes">
> {
  /** In order of preference, at least one. */
  readonly servers: readonly Endpoint[];
  /** Longest reply to accept, in bytes. Default 1 MiB. */
  readonly maxMessageBytes?: number | undefined;
  /** Operations without which a server is of no use: one whose version has them not is not connected to. Default: none. */
  readonly needs?: readonly Needed[] | undefined;
  readonly onEvent?: KmipObserver | undefined;
}

/** What came back for one message. */
export interface Reply {
  /** The version in the header of the reply. */
  readonly version: ProtocolVersion;
  /**
   * The payload of the operation at `index`.
   * @throws KMIP_RESULT where the server refused it; KMIP_UNEXPECTED where the reply does not answer it.
   */
  payload<Read>(index: number, operation: OperationDefinition<unknown, never, Read, never>): Read;
}

/** One message: what to send, and how to read what comes back. */
export interface Exchange<T> {
  readonly calls: readonly Call[];
  /** Header fields. Default: none. */
  readonly header?: RequestOptions;
  /** May throw what {@link Reply.payload} throws. */
  readonly read: (reply: Reply) => T;
}

/** Makes the message for the version that is spoken on a connection. */
type Make<T> = (version: ProtocolVersion) => Exchange<T>;

/** What a server answered. */
type Outcome<T> = { readonly value: T } | { readonly refusal: KmipResultError; readonly by: Endpoint };

/** A client of one KMIP service, on one server or several. */
export interface KmipClient {
  /**
   * Sends one message of one operation or several. Where it is refused with General Failure, another server is asked
   * too: one that can do it is in use from then on.
   * @param make called for each try, with the version that is spoken on its connection: whatever must be fresh in
   *   each message, as an IV, is made there.
   * @throws KMIP_RESULT where the server refuses; KMIP_VERSION where its version has no such operation, or no server
   *   has what is needed; network, time and protocol errors.
   */
  send<T>(make: Make<T>, context: RequestContext): Promise<T>;
  /** From now on connects with this material; what is in flight finishes. @throws TLS_FILES where it is unusable. */
  setTlsMaterial(material: TlsMaterial): void;
  counts(): PoolCounts;
  /** What is in flight fails with SHUTTING_DOWN; resolves when every socket is closed. Idempotent. */
  close(): Promise<void>;
}

/** Below this a wait says more of this machine than of the server. */
const leastPatienceMs = 250;

const oldest = parseVersion("1.0");
const definitions = new Map(operations.map((definition) => [definition.operation, definition]));

/**
 * Makes a client. Nothing is opened before the first `send`, and nothing can be before the first `setTlsMaterial`.
 * @throws CONFIG where no server is given.
 */
export function createKmipClient(options: KmipClientOptions): KmipClient {
  const { onEvent } = options;
  const versions = new WeakMap<Connection, ProtocolVersion>();
  const negotiator = createNegotiator();

  const pool = createPool({
    ...options,
    endpoints: options.servers,
    maxMessageBytes: options.maxMessageBytes ?? defaultMaxMessageBytes,
    prepare: async (connection, signal) => {
      const version = await negotiator.negotiate(connection.endpoint.name, (spoken, request) =>
        exchange(connection, spoken, { calls: [request], read: readDiscovered }, { signal }),
      );
      checkVersion(options.needs ?? [], version, connection.endpoint.name);
      versions.set(connection, version);
      return `KMIP ${formatVersion(version)}`;
    },
  });

  const channel = { pool, patience: createPatience(leastPatienceMs), secondChances: createSecondChances() };

  const exchange = async <T>(
    connection: Connection,
    version: ProtocolVersion,
    asked: Exchange<T>,
    context: RequestContext,
  ): Promise<T> => {
    const request = createRequest(version, asked.calls, asked.header);
    const message = encodeRequest(request);
    const report = reporter(onEvent, connection.endpoint.name, asked.calls, message, context.uid);
    try {
      const reply = await connection.exchange(message, context.signal);
      report.received(reply);
      const result = asked.read(replyTo(request, decodeResponse(reply)));
      report.ended("ok");
      return result;
    } catch (error) {
      const failure = toProviderError(error);
      report.ended(failure);
      throw failure;
    }
  };

  /** One message, made for the version of the connection. */
  const ask = async <T>(make: Make<T>, connection: Connection, context: RequestContext): Promise<T> => {
    const version = versions.get(connection) ?? oldest;
    const asked = make(version);
    checkVersion(asked.calls, version, connection.endpoint.name);
    return exchange(connection, version, asked, context);
  };

  const sendOnce = async <T>(make: Make<T>, context: RequestContext): Promise<Outcome<T>> => {
    let isOnWire = false;
    try {
      return await untilAnswered(channel, context, async (connection, signal): Promise<Outcome<T>> => {
        isOnWire = true;
        try {
          return { value: await ask(make, connection, { ...context, signal }) };
        } catch (error) {
          // A refusal is an answer: no other connection would give another.
          if (error instanceof KmipResultError) return { refusal: error, by: connection.endpoint };
          throw error;
        }
      });
    } catch (error) {
      if (!isOnWire) reportUnsent(onEvent, toProviderError(error), context);
      throw error;
    }
  };

  /** Whether another server is in use by now, one that can do what was refused. False where the time is over first. */
  const isAnotherBetter = <T>(by: Endpoint, make: Make<T>, context: RequestContext): Promise<boolean> =>
    new Promise((resolve) => {
      const leave = (): void => resolve(false);
      context.signal.addEventListener("abort", leave, { once: true });
      if (context.signal.aborted) leave();
      const test: Test = (connection, signal) => ask(make, connection, { ...context, signal });
      void pool
        .appeal(by, test)
        .then(resolve)
        .finally(() => context.signal.removeEventListener("abort", leave));
    });

  return {
    send: async (make, context) => {
      const first = await sendOnce(make, context);
      if ("value" in first) return first.value;
      if (first.refusal.reason !== "General Failure" || !(await isAnotherBetter(first.by, make, context)))
        throw first.refusal;
      const second = await sendOnce(make, context);
      if ("value" in second) return second.value;
      throw second.refusal;
    },
    setTlsMaterial: pool.setTlsMaterial,
    counts: pool.counts,
    close: pool.close,
  };
}

function readDiscovered(reply: Reply): Discovered {
  const { version } = reply;
  try {
    return { version, answer: reply.payload(0, discoverVersionsOperation).protocolVersions };
  } catch (error) {
    if (error instanceof KmipResultError) return { version, answer: error };
    throw error;
  }
}

function replyTo(request: RequestMessage, response: ResponseMessage): Reply {
  return {
    version: response.version,
    payload: (index, operation) => payloadOf(response, request, index, operation),
  };
}

/** Says in plain words what an old server can't do, before it is asked to. */
function checkVersion(needed: readonly Needed[], version: ProtocolVersion, server: string): void {
  for (const { operation, name } of needed) {
    const since = definitions.get(operation)?.since;
    if (since === undefined || isAtLeast(version, since)) continue;
    const spoken = formatVersion(version);
    throw new ProviderError(
      "KMIP_VERSION",
      `${server} speaks KMIP ${spoken} at most: ${name} exists from KMIP ${formatVersion(since)} on`,
      { details: { endpoint: server, version: spoken, operation: name } },
    );
  }
}

/** Tells the observer of one exchange, from the moment that this is called. */
function reporter(
  onEvent: KmipObserver | undefined,
  endpoint: string,
  calls: readonly Call[],
  message: Uint8Array,
  uid: string | undefined,
): { received: (reply: Uint8Array) => void; ended: (outcome: "ok" | ProviderError) => void } {
  const started = performance.now();
  let replyBytes = 0;
  onEvent?.({ type: "message", direction: "sent", endpoint, dump: () => dumpOf(message) });
  return {
    received: (reply) => {
      replyBytes = reply.length;
      onEvent?.({ type: "message", direction: "received", endpoint, dump: () => dumpOf(reply) });
    },
    ended: (outcome) => {
      onEvent?.({
        type: "exchange",
        operation: calls.map(({ name }) => name.replaceAll(" ", "")).join("+"),
        endpoint,
        durationMs: performance.now() - started,
        requestBytes: message.length,
        replyBytes,
        ...(outcome === "ok" ? { outcome } : { outcome: outcome.code, message: outcome.message }),
        ...(uid === undefined ? {} : { uid }),
      });
    },
  };
}

/** A request that never had a connection is an exchange that failed, too. */
function reportUnsent(
  onEvent: KmipObserver | undefined,
  { code, message }: ProviderError,
  { uid }: RequestContext,
): void {
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
}

function dumpOf(message: Uint8Array): string {
  try {
    return dumpItem(decodeItem(message));
  } catch (error) {
    return `${message.length} bytes that are no KMIP message: ${toProviderError(error).message}`;
  }
}

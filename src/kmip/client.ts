/**
 * A KMIP client: operations in, typed payloads out, over the connections of upstream/. A version is agreed with each server once
 * and remembered; it decides how a message is written. Never asks for key material: operations/ has no Get.
 */
import { KmipResultError, ProviderError, toProviderError } from "../errors.ts";
import type { ServerAddress } from "../net/address.ts";
import type { TlsMaterial } from "../net/tls.ts";
import type { RefusalFacts, Verdict } from "../upstream/job.ts";
import type { Connection, DialOptions, Exchange as Sent } from "../upstream/connection.ts";
import { abortError, type CallContext } from "../upstream/context.ts";
import type { ConnectionCounts, Observer } from "../upstream/events.ts";
import type { Learned } from "../upstream/learned.ts";
import { createUpstream, type UpstreamOptions } from "../upstream/upstream.ts";
import { type Call, call, createRequest, payloadOf, type RequestOptions } from "./batch.ts";
import { type MessageConnection, openConnection } from "./connection.ts";
import { decodeResponse, encodeRequest, type RequestMessage, type ResponseMessage } from "./messages.ts";
import { createNegotiator, type Discovered } from "./negotiate.ts";
import { discoverVersionsOperation, type OperationDefinition, operations } from "./operations/index.ts";
import { dumpItem } from "./ttlv/dump.ts";
import { defaultMaxMessageBytes } from "./ttlv/limits.ts";
import { decodeItem } from "./ttlv/reader.ts";
import {
  formatVersion,
  isAtLeast,
  parseVersion,
  type ProtocolVersion,
  supportedVersions,
} from "./version.ts";

/** An operation by its number and its specification name. */
type Needed = Pick<OperationDefinition, "operation" | "name">;

/** How a client is made. Limits of the connections are for each server; their defaults are those of upstream/. */
export interface KmipClientOptions extends Omit<
  UpstreamOptions<ServerAddress, KmipConnection>,
  "transport" | "maxConnections"
> {
  /** Most connections to a server, in whatever state. Default 8. */
  readonly maxConnections?: number | undefined;
  /** Longest reply to accept, in bytes. Default 1 MiB. */
  readonly maxMessageBytes?: number | undefined;
  /** Header fields of each request, as a Credential; asked for anew for each message. Default: none. */
  readonly header?: (() => RequestOptions) | undefined;
  /** Operations that a server must have to be of use. Default: none. */
  readonly needs?: readonly Needed[] | undefined;
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

/** Makes the message for the version that is spoken on a connection; `learned` is what is known of its server. */
type Make<T> = (version: ProtocolVersion, learned: Learned) => Exchange<T>;

/** A client of one KMIP service, on one server or several. */
export interface KmipClient {
  /**
   * Sends one message of one operation or several.
   * @param make called for each attempt, with the version that is spoken on its connection: whatever must be fresh in
   *   each message, as an IV, is made there.
   * @throws KMIP_RESULT where the server refuses; KMIP_VERSION where its version has no such operation, or no server
   *   has what is needed; network, time and protocol errors.
   */
  send<T>(make: Make<T>, context: CallContext): Promise<T>;
  /** From now on connects with this material; what is in flight finishes. @throws TLS_FILES where it is unusable. */
  setTlsMaterial(material: TlsMaterial): void;
  counts(): ConnectionCounts;
  /** What is in flight fails with SHUTTING_DOWN; resolves when every socket is closed. Idempotent. */
  close(): Promise<void>;
}

/** A connection with the version that is spoken on it. */
export interface KmipConnection extends Connection {
  readonly messages: MessageConnection;
  readonly version: ProtocolVersion;
  readonly learned: Learned;
}

/** What one exchange is made of. */
interface Asked<T> {
  readonly messages: MessageConnection;
  readonly version: ProtocolVersion;
  readonly exchange: Exchange<T>;
  readonly uid?: string | undefined;
}

const definitions = new Map(operations.map((definition) => [definition.operation, definition]));
const discoverCall = call(discoverVersionsOperation, { protocolVersions: supportedVersions });
const firstToDiscover = parseVersion("1.1");

/**
 * Makes a client. Nothing is opened before the first `send`, and nothing can be before the first `setTlsMaterial`.
 * @throws RangeError where no server is given.
 */
export function createKmipClient(options: KmipClientOptions): KmipClient {
  const { onEvent } = options;
  const negotiator = createNegotiator();

  const begin = <T>({ messages, version, exchange, uid }: Asked<T>): Sent<T> => {
    const header = { ...options.header?.(), ...exchange.header };
    const request = createRequest(version, exchange.calls, header);
    const message = encodeRequest(request);
    const report = reporter(onEvent, messages.endpoint.name, exchange.calls, message, uid);
    const sent = messages.exchange(message);
    const failed = (error: unknown): never => {
      const failure = toProviderError(error);
      report.ended(failure);
      if (failure.kind === "bad-reply") messages.destroy(failure);
      throw failure;
    };
    const read = (reply: Uint8Array): T => {
      report.received(reply);
      let result: T;
      try {
        result = exchange.read(replyTo(request, decodeResponse(reply)));
      } catch (error) {
        return failed(error);
      }
      report.ended("ok");
      return result;
    };
    return { reply: sent.reply.then(read, failed), abort: sent.abort };
  };

  /** Which version to speak on a new connection: the one agreed before, or one that is agreed now. */
  const agree = async (messages: MessageConnection, learned: Learned, signal: AbortSignal) => {
    const { name } = messages.endpoint;
    if (learned.get("version") === undefined && negotiator.agreed(name) !== undefined)
      negotiator.forget(name);
    const version = await negotiator.negotiate(name, (spoken, asked) => {
      const exchange = { calls: [asked], read: readDiscovered };
      return abortable(begin({ messages, version: spoken, exchange }), signal);
    });
    learned.set("version", formatVersion(version));
    return version;
  };

  const dial = async (endpoint: ServerAddress, dialOptions: DialOptions): Promise<KmipConnection> => {
    const messages = await openConnection({
      endpoint,
      maxMessageBytes: options.maxMessageBytes ?? defaultMaxMessageBytes,
      ...dialOptions,
    });
    try {
      dialOptions.onStage(() => "no reply to the first KMIP message");
      const version = await agree(messages, dialOptions.learned, dialOptions.signal);
      checkVersion(options.needs ?? [], version, endpoint.name);
      // A connection that was lost with its first reply is a dial that failed: a pause follows it.
      if (!messages.isOpen) throw await messages.closed;
      return kmipConnection(messages, version, dialOptions.learned);
    } catch (error) {
      const failure = toProviderError(error);
      messages.destroy(failure);
      await messages.closed;
      throw failure;
    }
  };

  const check = (connection: KmipConnection): Sent<unknown> => {
    const version = isAtLeast(connection.version, firstToDiscover) ? connection.version : firstToDiscover;
    return begin({
      messages: connection.messages,
      version,
      exchange: { calls: [discoverCall], read: readDiscovered },
    });
  };

  const upstream = createUpstream<ServerAddress, KmipConnection>({
    ...options,
    maxConnections: options.maxConnections ?? 8,
    transport: { dial, check },
  });

  return {
    send: <T>(make: Make<T>, context: CallContext) => {
      const send = ({ messages, version, learned }: KmipConnection): Sent<T> => {
        const exchange = make(version, learned);
        checkVersion(exchange.calls, version, messages.endpoint.name);
        return begin({ messages, version, exchange, uid: context.uid });
      };
      return upstream.call({ send, verdict }, context);
    },
    setTlsMaterial: upstream.setTlsMaterial,
    counts: upstream.counts,
    close: upstream.close,
  };
}

/**
 * Reasons that a connection may give to everything, as one whose session token has ended does, and how old it must be for
 * that, in ms: a ciphertext that was changed gets Cryptographic Failure on any connection.
 */
const ofConnection: Readonly<Record<string, number>> = {
  "General Failure": 0,
  "Authentication Not Successful": 0,
  "Cryptographic Failure": 5_000,
};

/** What a refusal means for the connection and the server it came from. */
function verdict(failure: ProviderError, { isFresh, isResumed, ageMs }: RefusalFacts): Verdict {
  const reason = failure instanceof KmipResultError ? failure.reason : "";
  const isOfConnection =
    ageMs >= (ofConnection[reason] ?? Infinity) || (isResumed && reason === "Permission Denied");
  if (!isFresh && isOfConnection) return "reconnect";
  // A server whose HSM is away says General Failure to everything.
  return reason === "General Failure" ? "retry-elsewhere" : "fail";
}

function kmipConnection(
  messages: MessageConnection,
  version: ProtocolVersion,
  learned: Learned,
): KmipConnection {
  return {
    messages,
    version,
    learned,
    agreed: `${messages.agreed}, KMIP ${formatVersion(version)}`,
    capacity: messages.capacity,
    isResumed: messages.isResumed,
    get isOpen() {
      return messages.isOpen;
    },
    closed: messages.closed,
    destroy: messages.destroy,
  };
}

/** The reply of an exchange that ends with `signal`. */
async function abortable<T>(exchange: Sent<T>, signal: AbortSignal): Promise<T> {
  const onAbort = (): void => exchange.abort(abortError(signal, "connect", "agreeing on a version"));
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await exchange.reply;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
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
  onEvent: Observer | undefined,
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
        operation: operationLabel(calls),
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

const labels = new Map<string, string>();

/** What was asked for, as `GetAttributes` or `Locate+Get`. */
function operationLabel(calls: readonly Call[]): string {
  const names = calls.length === 1 ? (calls[0]?.name ?? "") : calls.map(({ name }) => name).join("+");
  let label = labels.get(names);
  if (label === undefined) labels.set(names, (label = names.replaceAll(" ", "")));
  return label;
}

function dumpOf(message: Uint8Array): string {
  try {
    return dumpItem(decodeItem(message));
  } catch (error) {
    return `${message.length} bytes that are no KMIP message: ${toProviderError(error).message}`;
  }
}

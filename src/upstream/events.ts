/**
 * What the connections to a KMS report of their work, for the log and the metrics. Holds no secret and no payload. One
 * set of events for every protocol.
 */
import type { ErrorCode } from "../errors.ts";

/** How many connections there are to the KMS, over all endpoints, by what they do. */
export interface ConnectionCounts {
  readonly idle: number;
  readonly busy: number;
  readonly connecting: number;
}

/** One request and its reply, or its failure. */
export interface ExchangeEvent {
  readonly type: "exchange";
  /** The KMIP operation or operations (`Locate+GetAttributes`), or the name of the REST call (`encrypt`). */
  readonly operation: string;
  /** `host:port`; empty where no connection could be made. */
  readonly endpoint: string;
  readonly outcome: "ok" | ErrorCode;
  readonly durationMs: number;
  readonly requestBytes: number;
  readonly replyBytes: number;
  /** The request id of the REST API. */
  readonly requestId?: string;
  /** The failure in words. */
  readonly message?: string;
  readonly uid?: string;
}

/** A connection was opened, was closed, or could not be made; with the counts after it. */
export interface ConnectionEvent {
  readonly type: "connection";
  readonly change: "opened" | "closed" | "failed";
  readonly endpoint: string;
  readonly counts: ConnectionCounts;
  /** Why, in one line; for `opened` what was agreed (`TLSv1.3, KMIP 1.4`). */
  readonly message: string;
  readonly durationMs?: number;
}

/** The health of an endpoint changed, or another endpoint became the active one. */
export interface EndpointEvent {
  readonly type: "endpoint";
  readonly endpoint: string;
  readonly up: boolean;
  /** Whether it is the active endpoint now. */
  readonly inUse: boolean;
  readonly message?: string;
}

/** Something was learned about a server, or forgotten. */
export interface LearnedEvent {
  readonly type: "learned";
  readonly endpoint: string;
  /** What is known now, as `version=1.4 sessions=false`. */
  readonly message: string;
}

/** A message as a redacted dump; the text is made only when asked for. */
export interface MessageEvent {
  readonly type: "message";
  readonly direction: "sent" | "received";
  readonly endpoint: string;
  readonly dump: () => string;
}

/** Any of them. */
export type KmsEvent = ExchangeEvent | ConnectionEvent | EndpointEvent | LearnedEvent | MessageEvent;

/** Receives {@link KmsEvent}s, synchronously. Must not throw. */
export type Observer = (event: KmsEvent) => void;

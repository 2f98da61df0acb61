/**
 * What the KMIP stack reports through `onEvent`: facts for a log and metrics, without a payload or a
 * secret. The shapes are those of KmsEvent in encryptors/encryptor.ts, spelled here again so that the stack
 * can be used without the rest of the program.
 */
import type { ErrorCode } from "../errors.ts";

/** How many connections there are, by what they do. Those that only finish what they carry are not counted. */
export interface PoolCounts {
  readonly idle: number;
  readonly busy: number;
  readonly connecting: number;
}

/** One request and its reply, or its failure. */
export interface ExchangeEvent {
  readonly type: "exchange";
  /** Operation or operations, as `Locate+GetAttributes`. */
  readonly operation: string;
  /** `host:port`; empty where no connection was had. */
  readonly endpoint: string;
  readonly outcome: "ok" | ErrorCode;
  readonly durationMs: number;
  readonly requestBytes: number;
  readonly replyBytes: number;
  /** The failure's own words. */
  readonly message?: string;
  /** The caller's mark for its call. */
  readonly uid?: string;
}

/** A connection was opened, was closed, or could not be made; with the counts after it. */
export interface ConnectionEvent {
  readonly type: "connection";
  readonly change: "opened" | "closed" | "failed";
  readonly endpoint: string;
  readonly counts: PoolCounts;
  /** Why; for `opened` what was agreed, as `TLSv1.3, KMIP 1.4`. */
  readonly message: string;
  readonly durationMs?: number;
}

/** A server was found to be reachable or not, or another became the one in use. */
export interface EndpointEvent {
  readonly type: "endpoint";
  readonly endpoint: string;
  readonly up: boolean;
  readonly inUse: boolean;
  readonly message?: string;
}

/** A message that was sent or received; the text of the redacted dump is made only when asked for. */
export interface MessageEvent {
  readonly type: "message";
  readonly direction: "sent" | "received";
  readonly endpoint: string;
  readonly dump: () => string;
}

/** Any event of the stack. */
export type KmipEvent = ExchangeEvent | ConnectionEvent | EndpointEvent | MessageEvent;

/** Receives events, synchronously. Must not throw. */
export type KmipObserver = (event: KmipEvent) => void;

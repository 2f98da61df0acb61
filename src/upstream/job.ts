/** What a protocol's client asks of the engine: a request, how it is sent, and what its refusals mean. */
import type { ProviderError } from "../errors.ts";
import type { Connection, Exchange } from "./connection.ts";

/**
 * What a refusal means. `fail`: it is the answer. `retry`: not now, try again after a pause. `fail-over`: this server
 * cannot serve now, another may; then try again. `retry-elsewhere`: the server or the request may be at fault; another
 * server knows. `reconnect`: the connection may be at fault; a new one with a full handshake knows.
 */
export type Verdict = "fail" | "retry" | "fail-over" | "retry-elsewhere" | "reconnect";

/** What is known of the connection that a refusal came on. */
export interface RefusalFacts {
  /** It was opened for this call: a new one would bring nothing. */
  readonly isFresh: boolean;
  /** Its TLS session was resumed. */
  readonly isResumed: boolean;
  /** How long ago it was opened, in ms. */
  readonly ageMs: number;
}

/** A request: how it is sent, and what its refusals mean. */
export interface Job<C extends Connection, R> {
  /** Sends it on a connection, made anew for each attempt. May throw a ProviderError where it cannot be sent there. */
  send(connection: C): Exchange<R>;
  /** Only asked of failures of the kind `refused`, and of replies that are none. */
  verdict(failure: ProviderError, facts: RefusalFacts): Verdict;
  /** How long the server asks to be left alone, in ms. Default: 0. */
  retryAfterMs?(failure: ProviderError): number;
}

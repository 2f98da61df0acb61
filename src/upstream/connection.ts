/** What a protocol gives to the engine: connections, and exchanges on them. */
import type { SecureContext } from "node:tls";
import type { ProviderError } from "../errors.ts";
import type { Learned } from "./learned.ts";

/** Where a server is; each protocol adds what it needs. */
export interface Address {
  /** `host:port`, for log, metrics and messages. */
  readonly name: string;
}

/** A request under way. */
export interface Exchange<R> {
  /** Rejects with a ProviderError: `refused` where the server said no, `network` or `bad-reply` otherwise. */
  readonly reply: Promise<R>;
  /** Gives up at once; without effect once the reply is there. May cost the connection. */
  abort(reason: ProviderError): void;
}

/** An open connection, ready for requests. */
export interface Connection {
  /** What was agreed, as `TLSv1.3, KMIP 1.4`. */
  readonly agreed: string;
  /** How many requests it carries at a time. */
  readonly capacity: number;
  /** Whether its TLS session was resumed. */
  readonly isResumed: boolean;
  /** False from the moment that it takes no more requests. */
  readonly isOpen: boolean;
  /** Resolves when its socket is closed, with the reason; never rejects. */
  readonly closed: Promise<ProviderError>;
  /** Closes at once; exchanges under way fail with `reason`. */
  destroy(reason: ProviderError): void;
}

/** What a dial is made with. */
export interface DialOptions {
  readonly secureContext: SecureContext;
  /** Ends the dial. */
  readonly signal: AbortSignal;
  /** Which address of the server's name to try first, counted from 0 and round again. */
  readonly nthAddress: number;
  /** A TLS session to resume. */
  readonly session: Buffer | undefined;
  /** Takes each TLS session that the server gives. */
  readonly onSession: (session: Buffer) => void;
  /** Takes a function that says what the dial waits for, as `DNS gives no answer`. */
  readonly onStage: (waitsFor: () => string) => void;
  /** What was learned about the server so far. */
  readonly learned: Learned;
}

/** A protocol, as far as the engine knows it. `A` is the address of a server. */
export interface Transport<A extends Address, C extends Connection> {
  /**
   * Opens a connection and makes it ready for requests. Where it rejects, its socket is closed.
   * @throws CONNECT, TLS, CLOSED, TIMEOUT; a `refused` code where no connection to this server would be of use
   */
  dial(address: A, options: DialOptions): Promise<C>;
  /** A cheap request that shows whether the server answers. */
  check(connection: C, address: A): Exchange<unknown>;
}

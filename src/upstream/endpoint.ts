/**
 * One server: its connections, its named health, and what is known of its speed. Which endpoint is the active one is
 * decided in endpoints.ts.
 */
import type { SecureContext } from "node:tls";
import { NetworkError, ProviderError, TimeoutError, toProviderError } from "../errors.ts";
import type { Address, Connection, DialOptions, Transport } from "./connection.ts";
import { createEjection, type Ejection } from "./ejection.ts";
import { createLearned, type Learned } from "./learned.ts";
import { createLoad, type Load } from "./load.ts";
import { Pool } from "./pool.ts";
import { createRttEstimator, type RttEstimator } from "./rtt.ts";

/**
 * `unknown`: nothing was sent yet. `up`: it answers. `suspect`: it accepts connections, and answered nobody on the last of
 * them. `down`: it cannot be reached, or says that it cannot serve.
 */
export type Health = "unknown" | "up" | "suspect" | "down";

/** Limits of the connections to one endpoint. Times in ms. */
export interface EndpointLimits {
  /** Most connections that are open or being opened. */
  readonly maxConnections: number;
  /** Most that are opened at a time. Default 2. */
  readonly maxDials?: number | undefined;
  /** Longest time for one dial. Default 4 s. */
  readonly dialTimeoutMs?: number | undefined;
  /** After this long without a request a connection is closed, unless it is the last. Default 5 min. */
  readonly idleMs?: number | undefined;
  /** After this long, a quarter more or less, an idle connection is closed. Default 1 h. */
  readonly maxAgeMs?: number | undefined;
  /** How long a dial is waited for before another endpoint, or another dial, is tried too. Default 300 ms. */
  readonly headStartMs?: number | undefined;
}

/** What an endpoint is made with. */
export interface EndpointOptions<A extends Address, C extends Connection> {
  readonly address: A;
  readonly transport: Transport<A, C>;
  readonly limits: EndpointLimits;
  /** Time between two health checks, in ms. */
  readonly checkMs: number;
  /** The TLS files in use. @throws TLS_FILES where there are none yet */
  readonly secureContext: () => SecureContext;
  readonly onOpened: (endpoint: Endpoint<A, C>, connection: C, durationMs: number) => void;
  readonly onClosed: (endpoint: Endpoint<A, C>, reason: ProviderError) => void;
  /** A dial failed of itself. */
  readonly onDialFailed: (endpoint: Endpoint<A, C>, failure: ProviderError, durationMs: number) => void;
  readonly onLearned: (endpoint: Endpoint<A, C>, known: string) => void;
}

/** A server whose dials take longer is not returned to, and gets no longer head start: a caller has seconds. */
export const longestDialMs = 1_000;
/** Servers that close each connection after one reply do so at least so many times in a row. */
const singleUseReplies = 3;
/** How long a reconnect, or asking elsewhere, that brought nothing is not tried again for the same reason. */
const uselessMs = 5_000;

/** See above. */
export class Endpoint<A extends Address, C extends Connection> {
  readonly address: A;
  readonly pool: Pool<C>;
  readonly rtt: RttEstimator = createRttEstimator();
  readonly load: Load = createLoad();
  readonly ejection: Ejection;
  readonly learned: Learned;
  health: Health = "unknown";
  readonly #options: EndpointOptions<A, C>;
  readonly #useless = new Map<string, number>();
  #nthAddress = 0;
  #dials = 0;
  #session: Buffer | undefined;
  #singleUse = 0;
  #waitsFor: () => string = () => "";

  constructor(options: EndpointOptions<A, C>) {
    this.#options = options;
    this.address = options.address;
    this.ejection = createEjection(options.checkMs);
    this.learned = createLearned((known) => options.onLearned(this, known));
    const { limits } = options;
    this.pool = new Pool<C>({
      name: this.name,
      dial: ({ signal, isNew }) => this.#dial(signal, isNew),
      maxConnections: limits.maxConnections,
      maxDials: limits.maxDials ?? 2,
      window: () => this.load.window,
      idleMs: limits.idleMs ?? 300_000,
      maxAgeMs: limits.maxAgeMs ?? 3_600_000,
      repeatMs: limits.headStartMs ?? 300,
      onOpened: (connection, durationMs) => options.onOpened(this, connection, durationMs),
      onClosed: (reason) => options.onClosed(this, reason),
      isSingleUse: () => this.learned.get("requestsPerConnection") === 1,
      onUsed: (replies) => this.#onUsed(replies),
    });
  }

  /** `host:port`. */
  get name(): string {
    return this.address.name;
  }

  /** How long a dial is to be waited for before something else is tried: twice the last one, where that is more. */
  get headStartMs(): number {
    return Math.max(this.#options.limits.headStartMs ?? 300, 2 * Math.min(this.pool.dialMs, longestDialMs));
  }

  /** What a call waits for that has no connection, as `connecting to kms:5696 (DNS gives no answer)`. */
  get waitingFor(): string {
    const stage = this.#dials > 0 ? this.#waitsFor() : "";
    return `connecting to ${this.name}${stage === "" ? "" : ` (${stage})`}`;
  }

  /** Whether something was tried lately for this reason, in vain. */
  isUseless(reason: string): boolean {
    const until = this.#useless.get(reason);
    if (until === undefined) return false;
    if (until > performance.now()) return true;
    this.#useless.delete(reason);
    return false;
  }

  setUseless(reason: string): void {
    this.#useless.set(reason, performance.now() + uselessMs);
  }

  /** New TLS files: nothing that was learned with the old ones holds. */
  renew(): void {
    this.#session = undefined;
    this.learned.forget();
    this.pool.drain("the certificates were replaced");
  }

  /** The server does not resume sessions, or loses the client's identity: none is offered from here on. */
  refuseSessions(): void {
    this.#session = undefined;
    this.learned.set("sessions", false);
  }

  async #dial(signal: AbortSignal, isNew: boolean): Promise<C> {
    const startedAt = performance.now();
    const nthAddress = this.#nthAddress + this.#dials;
    this.#dials += 1;
    const limit = followed(signal, this.#options.limits.dialTimeoutMs ?? 4_000);
    let waitsFor = unknownStage;
    const onStage = (stage: () => string): void => {
      waitsFor = stage;
      this.#waitsFor = stage;
    };
    try {
      const connection = await this.#resumeOrNot(isNew, { signal: limit.signal, nthAddress, onStage });
      this.#nthAddress = nthAddress;
      return connection;
    } catch (error) {
      const failure = this.#timedOut(toProviderError(error), waitsFor()).of(this.name);
      if (!signal.aborted) {
        // The next address, which may answer.
        this.#nthAddress = Math.max(this.#nthAddress, nthAddress + 1);
        this.#session = undefined;
        this.#options.onDialFailed(this, failure, performance.now() - startedAt);
      }
      throw failure;
    } finally {
      this.#dials -= 1;
      limit.end();
    }
  }

  /** A dial that resumes a session is repeated without it where the server aborts the handshake. */
  async #resumeOrNot(
    isNew: boolean,
    base: Pick<DialOptions, "signal" | "nthAddress" | "onStage">,
  ): Promise<C> {
    const secureContext = this.#options.secureContext();
    const mayResume = !isNew && this.learned.get("sessions") !== false;
    const session = mayResume ? this.#session : undefined;
    const options: DialOptions = {
      ...base,
      secureContext,
      session,
      learned: this.learned,
      onSession: (given) => {
        if (secureContext === this.#options.secureContext()) this.#session = given;
      },
    };
    try {
      return await this.#options.transport.dial(this.address, options);
    } catch (error) {
      if (session === undefined || base.signal.aborted || !isHandshakeFailure(toProviderError(error)))
        throw error;
      const connection = await this.#options.transport.dial(this.address, { ...options, session: undefined });
      this.refuseSessions();
      return connection;
    }
  }

  #timedOut(error: ProviderError, waitedFor: string): ProviderError {
    if (error.code !== "TIMEOUT") return error;
    return new TimeoutError("connect", `${this.name} does not answer (${waitedFor})`, { cause: error });
  }

  #onUsed(replies: number): void {
    this.#singleUse = replies === 1 ? this.#singleUse + 1 : 0;
    if (this.#singleUse === singleUseReplies) this.learned.set("requestsPerConnection", 1);
  }
}

/** What a dial waits for that has not begun. */
const unknownStage = (): string => "no connection in time";

/** Whether a TLS handshake failed that a session may have been the reason for: by an alert, or a closed connection. */
function isHandshakeFailure(failure: ProviderError): boolean {
  if (!(failure instanceof NetworkError)) return false;
  return failure.code !== "CONNECT" || (failure.cause as NodeJS.ErrnoException)?.code === "ECONNRESET";
}

/** A signal that follows `parent` and aborts after `ms`; AbortSignal.any would keep listeners on the parent. */
function followed(parent: AbortSignal, ms: number): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const follow = (): void => controller.abort(parent.reason);
  const timer = setTimeout(() => controller.abort(new DOMException("timed out", "TimeoutError")), ms);
  parent.addEventListener("abort", follow, { once: true });
  if (parent.aborted) follow();
  return {
    signal: controller.signal,
    end: () => {
      clearTimeout(timer);
      parent.removeEventListener("abort", follow);
    },
  };
}

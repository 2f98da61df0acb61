/** One request of a call to one endpoint: its wait for a connection, and then for the reply. */
import { type ProviderError, toProviderError } from "../errors.ts";
import type { Address, Connection, Exchange } from "./connection.ts";
import { type CallContext, remainingMs } from "./context.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Endpoints } from "./endpoints.ts";
import type { Job } from "./job.ts";
import { overloaded } from "./load.ts";
import type { Lease, Wanted } from "./pool.ts";
import type { RetryBudget } from "./retry-budget.ts";

/** What all calls share. */
export interface CallShared<A extends Address, C extends Connection> {
  readonly endpoints: Endpoints<A, C>;
  readonly budget: RetryBudget;
  /** Requests of all calls that are on the wire beside another one of the same call; counted here. */
  readonly hedges: { count: number };
  /** The calls that are under way; kept here. */
  readonly calls: Set<{ fail(failure: ProviderError): void }>;
  /** A call ended before its request was ever sent. */
  readonly onUnsent: (failure: ProviderError, context: CallContext) => void;
}

/** The call that an attempt belongs to. */
export interface AttemptOwner<A extends Address, C extends Connection, R> {
  readonly job: Job<C, R>;
  readonly context: CallContext;
  /** The attempts that are under way, in the order in which they began. Each adds itself, and takes itself off. */
  readonly attempts: Attempt<A, C, R>[];
  readonly shared: CallShared<A, C>;
  /** The request was sent, or waits for a connection. */
  onBegun(attempt: Attempt<A, C, R>): void;
  onReply(attempt: Attempt<A, C, R>, value: R): void;
  /** The request failed. */
  onFailure(attempt: Attempt<A, C, R>, failure: ProviderError): void;
  /** There is no connection. */
  onDialFailed(attempt: Attempt<A, C, R>, failure: ProviderError): void;
  /** Ends the whole call. */
  fail(failure: ProviderError): void;
}

/** See above. One use. Times in ms of `performance.now()`. */
export class Attempt<A extends Address, C extends Connection, R> {
  readonly endpoint: Endpoint<A, C>;
  readonly startedAt = performance.now();
  /** When the request was sent; undefined while it waits for a connection. */
  sentAt: number | undefined;
  lease: Lease<C> | undefined;
  readonly #owner: AttemptOwner<A, C, R>;
  /** Whether the request was sent while another one of the call was on the wire, which it still is. */
  #isHedge = false;
  #exchange: Exchange<R> | undefined;
  #stopWaiting: (() => unknown) | undefined;
  #isWindowFull = false;

  constructor(owner: AttemptOwner<A, C, R>, endpoint: Endpoint<A, C>) {
    this.#owner = owner;
    this.endpoint = endpoint;
  }

  /** Whether the request was sent, and its connection has become silent since. */
  get isDoubted(): boolean {
    return this.lease !== undefined && this.lease.member.state !== "ready";
  }

  /** Sends the request on a connection that is there, or waits for one. */
  begin(wanted: Wanted): void {
    const { pool, load } = this.endpoint;
    if (this.#isAlone) load.enter();
    this.#owner.attempts.push(this);
    const lease = pool.tryAcquire(wanted);
    if (lease !== undefined) return this.#send(lease);
    this.#stopWaiting = pool.wait({
      wanted,
      onLease: (given) => this.#onLease(given),
      onFailure: (failure) => {
        if (this.#settle(false)) this.#owner.onDialFailed(this, failure);
      },
    });
    if (this.#isUnderWay && this.sentAt === undefined) this.#owner.onBegun(this);
  }

  /** Gives up; nothing is reported any more. */
  abandon(reason: ProviderError): void {
    if (!this.#leave()) return;
    this.#stopWaiting?.();
    this.#exchange?.abort(reason);
    this.lease?.release(false);
  }

  /** Whether no other attempt of the call is at the endpoint. */
  get #isAlone(): boolean {
    return this.#owner.attempts.every((one) => one === this || one.endpoint !== this.endpoint);
  }

  get #isUnderWay(): boolean {
    return this.#owner.attempts.includes(this);
  }

  #onLease(lease: Lease<C>): void {
    const { rtt, pool, load } = this.endpoint;
    const isAnswering = load.isSteadySince(this.startedAt) && load.pending > 1;
    // The usual round trip is that of a stalled machine, or of a fault, too: it counts only where calls are many.
    const neededMs = Math.max(load.isCrowded ? 1.25 * rtt.smoothedMs : 0, 1.4 * load.workMs(pool.onWire + 1));
    if (!isAnswering || remainingMs(this.#owner.context) >= neededMs) return this.#send(lease);
    // It has waited so long that the reply would come too late: others can still be served in time.
    lease.release(false);
    return this.#owner.fail(overloaded(this.endpoint));
  }

  #send(lease: Lease<C>): void {
    const { attempts, job, shared } = this.#owner;
    this.lease = lease;
    this.#isHedge = attempts.some(({ sentAt }) => sentAt !== undefined);
    if (this.#isHedge) shared.hedges.count += 1;
    this.sentAt = performance.now();
    this.#isWindowFull = this.endpoint.pool.isWindowFull;
    try {
      this.#exchange = job.send(lease.connection);
    } catch (error) {
      // Nothing was sent: that it cannot be is no reply.
      this.#settle(false);
      this.#owner.onFailure(this, toProviderError(error));
      return;
    }
    this.#exchange.reply.then(this.#onReply, this.#onLost);
    this.#owner.onBegun(this);
  }

  readonly #onReply = (value: R): void => {
    if (this.#settle(true)) this.#owner.onReply(this, value);
  };

  readonly #onLost = (error: unknown): void => {
    const failure = toProviderError(error).of(this.endpoint.name);
    if (this.#settle(failure.kind === "refused")) this.#owner.onFailure(this, failure);
  };

  /** Ends the attempt; false where it had been abandoned. @param isAnswered whether a whole reply came */
  #settle(isAnswered: boolean): boolean {
    if (!this.#leave()) return false;
    if (isAnswered && this.sentAt !== undefined) {
      const { name, rtt, load } = this.endpoint;
      const { context } = this.#owner;
      context.onServer?.(name);
      const rttMs = performance.now() - this.sentAt;
      rtt.observe(rttMs);
      load.replied(rttMs, remainingMs(context) + rttMs, this.#isWindowFull);
      this.#owner.shared.budget.earn();
    }
    this.lease?.release(isAnswered);
    return true;
  }

  /** Takes itself off the list; false where it is not on it. */
  #leave(): boolean {
    const { attempts, shared } = this.#owner;
    const index = attempts.indexOf(this);
    if (index === -1) return false;
    attempts.splice(index, 1);
    if (this.#isAlone) this.endpoint.load.leave();
    if (this.sentAt === undefined) return true;
    // Of two requests on the wire one is a hedge, whichever is left.
    const hedge = this.#isHedge ? this : attempts.find((one) => one.#isHedge);
    if (hedge === undefined) return true;
    hedge.#isHedge = false;
    shared.hedges.count -= 1;
    return true;
  }
}

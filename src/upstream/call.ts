/**
 * One call: the only loop of attempts, hedges and retries. Everything that this program sends can be repeated safely. An attempt
 * that fails is followed by another, elsewhere where there is one; an attempt that is overdue is joined by another, and
 * the first reply wins. An endpoint that answers others is slow, not dead: then the retry budget decides.
 */
import { ProviderError, toProviderError } from "../errors.ts";
import { type Alarm, setAlarm } from "../process/alarms.ts";
import { backoffMs, replyBackoff } from "./backoff.ts";
import type { Address, Connection, Exchange } from "./connection.ts";
import { abortError, type CallContext, remainingMs } from "./context.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Endpoints } from "./endpoints.ts";
import { CallFailures } from "./failures.ts";
import type { Load } from "./load.ts";
import { anyConnection, type Lease, type Wanted } from "./pool.ts";
import type { RetryBudget } from "./retry-budget.ts";

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

/** What all calls share. */
export interface CallShared<A extends Address, C extends Connection> {
  readonly endpoints: Endpoints<A, C>;
  readonly budget: RetryBudget;
  /** Hedges of all calls that are under way; counted here. */
  readonly hedges: { count: number };
  /** The calls that are under way; kept here. */
  readonly calls: Set<{ fail(failure: ProviderError): void }>;
  /** A call ended before its request was ever sent. */
  readonly onUnsent: (failure: ProviderError, context: CallContext) => void;
}

interface Attempt<A extends Address, C extends Connection> {
  readonly endpoint: Endpoint<A, C>;
  readonly startedAt: number;
  readonly isHedge: boolean;
  /** When the request was sent; undefined while it waits for a connection. */
  sentAt: number | undefined;
  lease: Lease<C> | undefined;
  exchange: Exchange<unknown> | undefined;
  stopWaiting: (() => unknown) | undefined;
  isWindowFull: boolean;
}

/** Attempts of one call that may be under way at a time. */
const mostAttempts = 4;
/** Hedges of all calls that may be under way at a time: an overloaded KMS must not get more and more to do. */
const mostHedges = 64;
/** Once a reply is overdue, a path that heals for a moment is to be found. */
const repeatHedgeMs = 500;
/** An attempt that is begun with less time than this would come too late. */
const leastLeftMs = 200;
/** How often the retry budget is asked again. */
const askBudgetMs = 50;
const leastWaitMs = 10;
/** A call is refused for overload only where the server has answered others for about so long. */
const provenMs = 3_000;

/** See above. One use. */
export class Call<A extends Address, C extends Connection, R> {
  /** Whether the request was sent at all. */
  #isSent = false;
  readonly #job: Job<C, R>;
  readonly #context: CallContext;
  readonly #shared: CallShared<A, C>;
  readonly #startedAt = performance.now();
  readonly #attempts: Attempt<A, C>[] = [];
  readonly #failures = new CallFailures();
  #tried: Endpoint<A, C>[] = [];
  #resolve: (value: R) => void = () => undefined;
  #reject: (error: ProviderError) => void = () => undefined;
  #isEnded = false;
  #alarm: Alarm | undefined;
  #hedgedAfterMs: number | undefined;
  #retries = 0;
  #badReplies = 0;
  /** A refusal that a new connection, or another server, is being asked about. */
  #recheck:
    | {
        readonly by: Endpoint<A, C>;
        readonly failure: ProviderError;
        readonly kind: "reconnect" | "elsewhere";
        readonly isResumed: boolean;
      }
    | undefined;
  #hasReconnected = false;

  constructor(job: Job<C, R>, context: CallContext, shared: CallShared<A, C>) {
    this.#job = job;
    this.#context = context;
    this.#shared = shared;
  }

  /** Makes the call. @throws what the last attempt failed with; TIMEOUT; CANCELED; OVERLOADED where it cannot be answered in time */
  run(): Promise<R> {
    this.#shared.calls.add(this);
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      const { signal } = this.#context;
      if (signal.aborted) return this.#onAbort();
      const endpoint = this.#nextEndpoint();
      const overload = overloadOf(endpoint, remainingMs(this.#context));
      if (overload !== undefined) return this.fail(overload);
      signal.addEventListener("abort", this.#onAbort, { once: true });
      this.#begin(endpoint, anyConnection);
      return undefined;
    });
  }

  /** Ends the call with `failure`, whatever is under way. */
  fail(failure: ProviderError): void {
    if (this.#isEnded) return;
    this.#end(() => failure);
    if (!this.#isSent) this.#shared.onUnsent(failure, this.#context);
    this.#reject(failure);
  }

  #succeed(attempt: Attempt<A, C>, value: R): void {
    const { endpoints } = this.#shared;
    const recheck = this.#recheck;
    if (recheck?.kind === "elsewhere" && attempt.endpoint !== recheck.by)
      endpoints.reportDown(recheck.by, `${recheck.failure.message}: ${attempt.endpoint.name} can do it`);
    if (recheck?.kind === "reconnect" && recheck.isResumed) recheck.by.refuseSessions();
    endpoints.reportReply(attempt.endpoint);
    for (const other of this.#attempts) this.#overtaken(other, attempt);
    this.#end(() => new ProviderError("CANCELED", "the reply came by another attempt"));
    this.#resolve(value);
  }

  /** Gives up what is under way. An error is costly to make: mostly there is nothing to tell it to. */
  #end(makeReason: () => ProviderError): void {
    this.#isEnded = true;
    this.#shared.calls.delete(this);
    this.#alarm?.cancel();
    this.#context.signal.removeEventListener("abort", this.#onAbort);
    if (this.#attempts.length === 0) return;
    const reason = makeReason();
    for (let last = this.#attempts.at(-1); last !== undefined; last = this.#attempts.at(-1))
      this.#abandon(last, reason);
  }

  readonly #onAbort = (): void => {
    if (this.#isEnded) return;
    const { signal } = this.#context;
    const attempt = this.#attempts.at(-1);
    const end =
      this.#recheck?.failure ?? this.#failures.insteadOf(abortError(signal, ...this.#waitingFor(attempt)));
    this.#reportTimeout(attempt);
    this.fail(isTimeUp(signal) ? end : abortError(signal, "response", ""));
  };

  /** What the caller waited for when its time was over. */
  #waitingFor(
    attempt: Attempt<A, C> | undefined,
  ): ["connect" | "checkout" | "response", string, (ProviderError | undefined)?] {
    if (attempt === undefined) return ["connect", "waiting to try again"];
    const { endpoint } = attempt;
    if (attempt.sentAt !== undefined) return ["response", `waiting for the reply of ${endpoint.name}`];
    if (endpoint.pool.isConnected)
      return ["checkout", `waiting for a connection to ${endpoint.name}: all of them were in use`];
    const failure = this.#failures.ofDials ?? endpoint.pool.lastFailure;
    return [
      "connect",
      failure === undefined ? endpoint.waitingFor : `connecting to ${endpoint.name}`,
      failure,
    ];
  }

  #reportTimeout(attempt: Attempt<A, C> | undefined): void {
    const { endpoints } = this.#shared;
    if (attempt !== undefined && isTimeUp(this.#context.signal)) attempt.endpoint.load.missed();
    // One silent attempt may be a caller with little time; two of them say something about the server.
    if (this.#attempts.length > 1)
      for (const { endpoint, sentAt, startedAt } of this.#attempts)
        endpoints.reportSilent(endpoint, sentAt ?? startedAt, silence(endpoint, startedAt));
  }

  // One attempt.

  #begin(endpoint: Endpoint<A, C>, wanted: Wanted, isHedge = false): void {
    const attempt: Attempt<A, C> = {
      endpoint,
      startedAt: performance.now(),
      isHedge,
      sentAt: undefined,
      lease: undefined,
      exchange: undefined,
      stopWaiting: undefined,
      isWindowFull: false,
    };
    this.#attempts.push(attempt);
    if (!this.#tried.includes(endpoint)) this.#tried.push(endpoint);
    if (isHedge) this.#shared.hedges.count += 1;
    else endpoint.load.enter();
    const pool = endpoint.pool;
    const lease = pool.tryAcquire(wanted);
    if (lease !== undefined) return this.#send(attempt, lease);
    attempt.stopWaiting = pool.wait({
      wanted,
      onLease: (given) => this.#onLease(attempt, given),
      onFailure: (failure) => this.#onDialFailed(attempt, failure),
    });
    if (!this.#isEnded && attempt.sentAt === undefined) this.#arm();
  }

  #onLease(attempt: Attempt<A, C>, lease: Lease<C>): void {
    const { rtt, pool, load } = attempt.endpoint;
    const isAnswering = pool.isSteadySince(attempt.startedAt) && load.pending > 1;
    const neededMs = Math.max(1.25 * rtt.smoothedMs, 1.4 * load.workMs(pool.onWire + 1));
    // It has waited so long that the reply would come too late: others can still be served in time.
    if (isAnswering && remainingMs(this.#context) < neededMs) {
      lease.release(false);
      this.fail(overloaded(attempt.endpoint));
      return;
    }
    this.#send(attempt, lease);
  }

  #send(attempt: Attempt<A, C>, lease: Lease<C>): void {
    attempt.lease = lease;
    attempt.sentAt = performance.now();
    this.#isSent = true;
    attempt.isWindowFull = attempt.endpoint.pool.isWindowFull;
    try {
      const exchange = this.#job.send(lease.connection);
      attempt.exchange = exchange;
      exchange.reply.then(
        (value) => this.#onReply(attempt, value),
        (error: unknown) => this.#onFailure(attempt, toProviderError(error)),
      );
    } catch (error) {
      attempt.sentAt = undefined;
      this.#release(attempt, false);
      this.#decide(attempt, toProviderError(error));
      return;
    }
    this.#arm();
  }

  /** Takes the attempt off the list; false where it had been abandoned. */
  #release(attempt: Attempt<A, C>, isAnswered: boolean): boolean {
    const index = this.#attempts.indexOf(attempt);
    if (index === -1) return false;
    this.#attempts.splice(index, 1);
    const { endpoint, sentAt } = attempt;
    this.#leave(attempt);
    if (isAnswered && sentAt !== undefined) {
      this.#context.onServer?.(endpoint.name);
      const rttMs = performance.now() - sentAt;
      endpoint.rtt.observe(rttMs);
      endpoint.load.replied(rttMs, remainingMs(this.#context) + rttMs, attempt.isWindowFull);
      this.#shared.budget.earn();
    }
    attempt.lease?.release(isAnswered);
    return true;
  }

  #leave({ endpoint, isHedge }: Attempt<A, C>): void {
    if (isHedge) this.#shared.hedges.count -= 1;
    else endpoint.load.leave();
  }

  #abandon(attempt: Attempt<A, C>, reason: ProviderError): void {
    const { exchange, stopWaiting } = attempt;
    this.#attempts.splice(this.#attempts.indexOf(attempt), 1);
    this.#leave(attempt);
    stopWaiting?.();
    exchange?.abort(reason);
    attempt.lease?.release(false);
  }

  /** Another attempt was answered first. */
  #overtaken(loser: Attempt<A, C>, winner: Attempt<A, C>): void {
    const { endpoint, sentAt, lease, startedAt } = loser;
    if (startedAt >= winner.startedAt) return;
    if (sentAt !== undefined && lease !== undefined) endpoint.pool.doubt(lease.member, sentAt);
    if (endpoint !== winner.endpoint)
      this.#shared.endpoints.reportSilent(endpoint, sentAt ?? startedAt, silence(endpoint, startedAt));
  }

  // What comes of it.

  #onReply(attempt: Attempt<A, C>, value: R): void {
    if (!this.#release(attempt, true) || this.#isEnded) return;
    this.#succeed(attempt, value);
  }

  #onFailure(attempt: Attempt<A, C>, failure: ProviderError): void {
    if (!this.#release(attempt, failure.kind === "refused") || this.#isEnded) return;
    this.#decide(attempt, failure);
  }

  #onDialFailed(attempt: Attempt<A, C>, failure: ProviderError): void {
    if (!this.#release(attempt, false) || this.#isEnded) return;
    if (failure.kind === "overload" || failure.kind === "internal") return this.fail(failure);
    if (this.#hasRecheckFailed(attempt)) return undefined;
    this.#failures.addDial(attempt.endpoint, failure);
    if (this.#failures.isHopeless(this.#shared.endpoints.all.length))
      return this.fail(this.#failures.ofDials ?? failure);
    // The pool of the endpoint makes the pause between its dials.
    return this.#next();
  }

  #decide(attempt: Attempt<A, C>, failure: ProviderError): void {
    if (failure.kind === "network" || failure.kind === "timeout") return this.#lost(attempt, failure);
    if (failure.kind === "refused" || failure.kind === "bad-reply") return this.#refused(attempt, failure);
    return this.fail(failure);
  }

  /** The connection was lost. */
  #lost(attempt: Attempt<A, C>, failure: ProviderError): void {
    const { endpoint, lease } = attempt;
    if (this.#hasRecheckFailed(attempt)) return;
    this.#failures.add(failure);
    this.#shared.endpoints.reportSilent(
      endpoint,
      lease?.member.openedAt ?? attempt.startedAt,
      failure.message,
    );
    this.#retries += 1;
    if (this.#retries > 1) return this.#next();
    // An idle connection may just have been closed: the first time nothing is held against a server that is up.
    if (endpoint.health !== "up" || this.#attempts.length > 0) return this.#next(0);
    return this.#begin(endpoint, { since: this.#startedAt, isNew: false });
  }

  #refused(attempt: Attempt<A, C>, failure: ProviderError): void {
    const { endpoint, lease } = attempt;
    const isResumed = lease?.connection.isResumed ?? false;
    const isFresh = lease === undefined || (lease.member.openedAt >= this.#startedAt && !isResumed);
    const reason = reasonOf(failure);
    const verdict = this.#job.verdict(failure, {
      isFresh: isFresh || this.#hasReconnected || endpoint.isUseless(reason),
      isResumed,
      ageMs: lease === undefined ? 0 : performance.now() - lease.member.openedAt,
    });
    if (this.#recheck !== undefined && this.#hasRecheckFailed(attempt, verdict)) return undefined;
    if (failure.kind === "bad-reply") return this.#badReply(attempt, failure);
    if (verdict !== "fail-over") this.#shared.endpoints.reportReply(endpoint);
    switch (verdict) {
      case "fail":
        return this.fail(failure);
      case "reconnect":
        return this.#reconnect(attempt, failure, isResumed);
      case "retry-elsewhere":
        return this.#askElsewhere(attempt, failure);
      case "fail-over":
        this.#shared.endpoints.reportDown(endpoint, failure.message);
    }
    this.#failures.add(failure);
    this.#retries += 1;
    const asked = this.#job.retryAfterMs?.(failure) ?? 0;
    const hasOther = verdict === "fail-over" && this.#untried() !== undefined;
    const pauseMs = hasOther ? 0 : Math.max(asked, this.#pauseMs());
    if (this.#attempts.length === 0 && pauseMs > remainingMs(this.#context)) return this.fail(failure);
    return this.#next(pauseMs);
  }

  /** What is no reply may come from something before the server: another way may not have that. */
  #badReply(attempt: Attempt<A, C>, failure: ProviderError): void {
    const { endpoints } = this.#shared;
    this.#badReplies += 1;
    if (endpoints.all.length > 1) endpoints.reportDown(attempt.endpoint, failure.message);
    if (this.#badReplies > endpoints.all.length) return this.fail(failure);
    this.#failures.add(failure);
    this.#retries += 1;
    return this.#next(this.#untried() === undefined ? this.#pauseMs() : 0);
  }

  #reconnect(attempt: Attempt<A, C>, failure: ProviderError, isResumed: boolean): void {
    const { endpoint, lease } = attempt;
    this.#hasReconnected = true;
    this.#recheck = { by: endpoint, failure, kind: "reconnect", isResumed };
    if (lease !== undefined) endpoint.pool.retire(lease.member, `${failure.message} on it`);
    this.#begin(endpoint, { since: performance.now(), isNew: true });
  }

  #askElsewhere(attempt: Attempt<A, C>, failure: ProviderError): void {
    const reason = `elsewhere: ${failure.code}`;
    const other = this.#shared.endpoints.all.find(
      (one) => one !== attempt.endpoint && !this.#tried.includes(one),
    );
    if (other === undefined || attempt.endpoint.isUseless(reason)) return this.fail(failure);
    this.#recheck = { by: attempt.endpoint, failure, kind: "elsewhere", isResumed: false };
    return this.#begin(other, anyConnection);
  }

  /**
   * The attempt that was to show whose fault a refusal is has failed, too: then the first refusal is the answer, unless a
   * new connection makes another server worth asking.
   */
  #hasRecheckFailed(attempt: Attempt<A, C>, verdict: Verdict = "fail"): boolean {
    const recheck = this.#recheck;
    if (recheck === undefined) return false;
    this.#recheck = undefined;
    const reason =
      recheck.kind === "elsewhere" ? `elsewhere: ${recheck.failure.code}` : reasonOf(recheck.failure);
    recheck.by.setUseless(reason);
    if (recheck.kind === "reconnect" && verdict === "retry-elsewhere") {
      this.#askElsewhere(attempt, recheck.failure);
      return true;
    }
    if (
      recheck.kind === "elsewhere" &&
      this.#shared.endpoints.all.some((one) => !this.#tried.includes(one))
    ) {
      const other = this.#untried();
      this.#recheck = recheck;
      if (other !== undefined) this.#begin(other, anyConnection);
      return other !== undefined;
    }
    this.fail(recheck.failure);
    return true;
  }

  // What comes next.

  /** Begins another attempt after a pause, unless others are still under way. */
  #next(pauseMs = this.#attempts.length > 0 ? 0 : this.#retries === 0 ? 0 : this.#pauseMs()): void {
    if (pauseMs > 0) {
      if (this.#attempts.length > 0) return this.#arm();
      this.#alarm?.cancel();
      this.#alarm = setAlarm(pauseMs, () => this.#next(0));
      return undefined;
    }
    const endpoint = this.#nextEndpoint();
    if (this.#attempts.some((attempt) => attempt.endpoint === endpoint)) return this.#arm();
    return this.#begin(endpoint, { since: this.#startedAt, isNew: false });
  }

  /** A pause that leaves half of the time that is left. */
  #pauseMs(): number {
    const leftMs = Math.max(remainingMs(this.#context), 0);
    return Math.min(backoffMs(this.#retries, replyBackoff), Math.max(replyBackoff.firstMs, leftMs / 2));
  }

  #untried(): Endpoint<A, C> | undefined {
    return this.#inOrder().find((endpoint) => !this.#tried.includes(endpoint));
  }

  /** The order of all calls; but the server that the caller asks for comes first. */
  #inOrder(): readonly Endpoint<A, C>[] {
    const order = this.#shared.endpoints.inOrder();
    const { server } = this.#context;
    if (server === undefined) return order;
    return order.toSorted((a, b) => Number(b.name === server) - Number(a.name === server));
  }

  /** The next one in order that was not tried in this round. */
  #nextEndpoint(): Endpoint<A, C> {
    const untried = this.#untried();
    if (untried !== undefined) return untried;
    this.#tried = [];
    return this.#inOrder()[0] ?? this.#shared.endpoints.active;
  }

  // Hedges.

  /** Looks again when the newest attempt may be overdue. */
  #arm(): void {
    if (this.#isEnded) return;
    const attempt = this.#attempts.at(-1);
    if (attempt === undefined) return;
    this.#alarm?.cancel();
    const waitMs =
      attempt.sentAt === undefined ? this.#untilHeadStartEnds(attempt) : this.#untilOverdue(attempt);
    this.#alarm = setAlarm(Math.max(waitMs, leastWaitMs), this.#onAlarm);
  }

  readonly #onAlarm = (): void => {
    const attempt = this.#attempts.at(-1);
    if (attempt === undefined || this.#isEnded) return;
    const waitMs =
      attempt.sentAt === undefined ? this.#untilHeadStartEnds(attempt) : this.#untilOverdue(attempt);
    if (waitMs >= 1) return this.#arm();
    return this.#hedge(attempt);
  };

  /** While a connection is made another endpoint may be tried; more dials to the same one are its pool's work. */
  #untilHeadStartEnds({ endpoint, startedAt }: Attempt<A, C>): number {
    const isOther = this.#shared.endpoints.all.some((one) =>
      this.#attempts.every((attempt) => attempt.endpoint !== one),
    );
    if (!isOther || remainingMs(this.#context) < leastLeftMs) return askBudgetMs;
    const since = endpoint.pool.isConnected ? Math.max(startedAt, endpoint.pool.lastReplyAt) : startedAt;
    const afterMs = endpoint.pool.isConnected ? this.#silenceMs(endpoint) : endpoint.headStartMs;
    return since + afterMs - performance.now();
  }

  /** How long to wait until the request is sent once more, in ms. */
  #untilOverdue({ endpoint, sentAt = 0, lease }: Attempt<A, C>): number {
    const leftMs = remainingMs(this.#context);
    // The deadline may be moved while the call waits.
    if (leftMs < leastLeftMs) return Math.max(leftMs, askBudgetMs);
    if (this.#shared.hedges.count >= mostHedges) return askBudgetMs;
    const now = performance.now();
    const member = lease?.member;
    const heardAt = member?.state === "ready" ? endpoint.pool.lastReplyAt : (member?.lastReplyAt ?? 0);
    const untilSilent = Math.max(sentAt, heardAt) + this.#silenceMs(endpoint) - now;
    const lateAfterMs = endpoint.rtt.lateAfterMs();
    const untilLate = sentAt + lateAfterMs - now;
    // A connection on which nothing came for so long is worse than slow.
    const isStuck = (member?.lastReplyAt ?? 0) < sentAt && now - sentAt > 2 * lateAfterMs;
    if (untilSilent < 1 || isStuck) return 0;
    // While nobody is answered, silence alone decides.
    if (heardAt <= sentAt) return untilSilent;
    if (untilLate < 1) return this.#shared.budget.take() ? 0 : Math.min(untilSilent, askBudgetMs);
    return Math.min(untilSilent, untilLate);
  }

  /** After how much silence a hedge is due: after the first one sooner. */
  #silenceMs(endpoint: Endpoint<A, C>): number {
    this.#hedgedAfterMs ??= endpoint.rtt.silenceAfterMs(remainingMs(this.#context));
    return this.#hedgedAfterMs;
  }

  /** Sends the request once more, elsewhere where its endpoint is silent; the first attempt goes on. */
  #hedge(attempt: Attempt<A, C>): void {
    const { endpoint, sentAt, lease } = attempt;
    const isSilent = endpoint.pool.lastReplyAt < (sentAt ?? attempt.startedAt);
    // Where others are answered the connection may only be slow: it is doubted once another was quicker.
    if (isSilent && sentAt !== undefined && lease !== undefined) endpoint.pool.doubt(lease.member, sentAt);
    this.#hedgedAfterMs = repeatHedgeMs;
    if (this.#attempts.length >= mostAttempts) {
      const second = this.#attempts[1];
      if (second !== undefined)
        this.#abandon(second, new ProviderError("CANCELED", "given up for another attempt"));
    }
    const other = isSilent ? this.#elsewhere() : undefined;
    this.#begin(other ?? endpoint, { since: sentAt ?? attempt.startedAt, isNew: false }, true);
  }

  /** An endpoint without an attempt of this call. */
  #elsewhere(): Endpoint<A, C> | undefined {
    return this.#shared.endpoints
      .inOrder()
      .find((one) => this.#attempts.every((attempt) => attempt.endpoint !== one));
  }
}

/** What an endpoint has to do. */
interface OfLoad {
  readonly name: string;
  readonly load: Load;
  readonly pool: { readonly isFull: boolean; isSteadySince(moment: number): boolean };
}

/** The refusal of a call that cannot be answered in the time it has; undefined where it can. */
function overloadOf(endpoint: OfLoad, leftMs: number): ProviderError | undefined {
  const { load, pool } = endpoint;
  // After an outage nothing is known of how fast the server is.
  if (!pool.isSteadySince(performance.now() - provenMs)) return undefined;
  return load.expectedMs(pool.isFull) > leftMs ? overloaded(endpoint) : undefined;
}

function overloaded({ name, load }: OfLoad): ProviderError {
  return new ProviderError("OVERLOADED", `${name} has too much to do to answer in time`, {
    details: { endpoint: name, pending: load.pending },
  });
}

/** What a refusal says without its words, which may be other ones each time. */
function reasonOf({ code, details }: ProviderError): string {
  return `${code} ${details["operation"] ?? ""} ${details["reason"] ?? details["status"] ?? ""}`;
}

function isTimeUp(signal: AbortSignal): boolean {
  const reason: unknown = signal.reason;
  return reason instanceof ProviderError
    ? reason.code === "TIMEOUT"
    : reason instanceof DOMException && reason.name === "TimeoutError";
}

function silence(endpoint: Address, startedAt: number): string {
  return `${endpoint.name} gave no answer for ${Math.round(performance.now() - startedAt)} ms`;
}

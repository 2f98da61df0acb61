/**
 * One call: the only loop of attempts, hedges and retries. Everything that this program sends can be repeated safely. An attempt
 * that fails is followed by another, elsewhere where there is one; an attempt that is overdue is joined by another, and
 * the first reply wins. An endpoint that answers others is slow, not dead: then the retry budget decides.
 */
import { ProviderError } from "../errors.ts";
import { type Alarm, setAlarm } from "../process/alarms.ts";
import { backoffMs, replyBackoff } from "./backoff.ts";
import { Attempt, type AttemptOwner, type CallShared } from "./attempt.ts";
import type { Address, Connection } from "./connection.ts";
import { abortError, type CallContext, isTimeUp, remainingMs } from "./context.ts";
import type { Endpoint } from "./endpoint.ts";
import { CallFailures } from "./failures.ts";
import { elsewhere, repeatHedgeMs, untilHedge } from "./hedging.ts";
import type { Job, Verdict } from "./job.ts";
import { overloadOf } from "./load.ts";
import { anyConnection, type Wanted } from "./pool.ts";

/** Attempts of one call that may be under way at a time. */
const mostAttempts = 4;
const leastWaitMs = 10;

/** See above. One use. */
export class Call<A extends Address, C extends Connection, R> implements AttemptOwner<A, C, R> {
  readonly job: Job<C, R>;
  readonly context: CallContext;
  readonly shared: CallShared<A, C>;
  readonly attempts: Attempt<A, C, R>[] = [];
  readonly #startedAt = performance.now();
  /** Whether the request was sent at all. */
  #isSent = false;
  readonly #failures = new CallFailures();
  #tried: Endpoint<A, C>[] = [];
  #resolve: (value: R) => void = () => undefined;
  #reject: (error: ProviderError) => void = () => undefined;
  #isEnded = false;
  #alarm: Alarm | undefined;
  /** See {@link silenceMs}. */
  #firstSilenceMs: number | undefined;
  #isHedged = false;
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
    this.job = job;
    this.context = context;
    this.shared = shared;
  }

  /** Makes the call. @throws what the last attempt failed with; TIMEOUT; CANCELED; OVERLOADED where it cannot be answered in time */
  run(): Promise<R> {
    this.shared.calls.add(this);
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      const { signal } = this.context;
      if (signal.aborted) return this.#onAbort();
      const endpoint = this.#nextEndpoint();
      const overload = overloadOf(endpoint, remainingMs(this.context));
      if (overload !== undefined) return this.fail(overload);
      signal.addEventListener("abort", this.#onAbort, { once: true });
      this.context.onBegun?.((late) => this.#whyLate(late));
      this.#begin(endpoint, anyConnection);
      return undefined;
    });
  }

  /** Ends the call with `failure`, whatever is under way. */
  fail(failure: ProviderError): void {
    if (this.#isEnded) return;
    this.#end(() => failure);
    if (!this.#isSent) this.shared.onUnsent(failure, this.context);
    this.#reject(failure);
  }

  onReply(attempt: Attempt<A, C, R>, value: R): void {
    const { endpoints } = this.shared;
    const recheck = this.#recheck;
    if (recheck?.kind === "elsewhere" && attempt.endpoint !== recheck.by)
      endpoints.reportDown(recheck.by, `${recheck.failure.message}: ${attempt.endpoint.name} can do it`);
    if (recheck?.kind === "reconnect" && recheck.isResumed) recheck.by.refuseSessions();
    endpoints.reportReply(attempt.endpoint);
    for (const other of this.attempts) this.#overtaken(other, attempt);
    this.#end(() => new ProviderError("CANCELED", "the reply came by another attempt"));
    this.#resolve(value);
  }

  /** Gives up what is under way. An error is costly to make: mostly there is nothing to tell it to. */
  #end(makeReason: () => ProviderError): void {
    this.#isEnded = true;
    this.shared.calls.delete(this);
    this.#alarm?.cancel();
    this.context.signal.removeEventListener("abort", this.#onAbort);
    if (this.attempts.length === 0) return;
    const reason = makeReason();
    for (let last = this.attempts.at(-1); last !== undefined; last = this.attempts.at(-1))
      last.abandon(reason);
  }

  readonly #onAbort = (): void => {
    if (this.#isEnded) return;
    const { signal } = this.context;
    const end = this.#whyLate(signal);
    this.#reportTimeout(this.attempts.at(-1));
    this.fail(isTimeUp(signal) ? end : abortError(signal, "response", ""));
  };

  #whyLate(signal: AbortSignal): ProviderError {
    const waitingFor = this.#waitingFor(this.attempts.at(-1));
    return this.#recheck?.failure ?? this.#failures.insteadOf(abortError(signal, ...waitingFor));
  }

  /** What the caller waited for when its time was over. */
  #waitingFor(
    attempt: Attempt<A, C, R> | undefined,
  ): ["connect" | "checkout" | "response", string, (ProviderError | undefined)?] {
    if (attempt === undefined) return ["connect", "waiting to try again"];
    const { endpoint } = attempt;
    if (attempt.sentAt !== undefined) return ["response", `waiting for the reply of ${endpoint.name}`];
    if (endpoint.pool.isConnected) {
      // Where more are being opened, the server is slow or hangs, and more connections would not help.
      const { busy, connecting } = endpoint.pool.counts();
      const more = connecting === 0 ? "" : `, and ${connecting} more could not be opened in that time`;
      return [
        "checkout",
        `waiting for a connection to ${endpoint.name}: all of them were in use (${busy})${more}`,
      ];
    }
    const failure = this.#failures.ofDials ?? endpoint.pool.lastFailure;
    return [
      "connect",
      failure === undefined ? endpoint.waitingFor : `connecting to ${endpoint.name}`,
      failure,
    ];
  }

  #reportTimeout(attempt: Attempt<A, C, R> | undefined): void {
    const { endpoints } = this.shared;
    if (attempt !== undefined && isTimeUp(this.context.signal)) attempt.endpoint.load.missed();
    // One silent attempt may be a caller with little time; two of them say something about the server.
    if (this.attempts.length > 1)
      for (const one of this.attempts)
        endpoints.reportSilent(one.endpoint, this.#overdueSince(one), silence(one));
  }

  // Attempts.

  #begin(endpoint: Endpoint<A, C>, wanted: Wanted): void {
    if (!this.#tried.includes(endpoint)) this.#tried.push(endpoint);
    new Attempt<A, C, R>(this, endpoint).begin(wanted);
  }

  onBegun(attempt: Attempt<A, C, R>): void {
    this.#isSent ||= attempt.sentAt !== undefined;
    this.#arm();
  }

  /** Another attempt was answered first. */
  #overtaken(loser: Attempt<A, C, R>, winner: Attempt<A, C, R>): void {
    const { endpoint, sentAt, lease } = loser;
    if (loser.startedAt >= winner.startedAt) return;
    if (sentAt !== undefined && lease !== undefined) endpoint.pool.doubt(lease.member, sentAt);
    if (endpoint !== winner.endpoint)
      this.shared.endpoints.reportSilent(endpoint, this.#overdueSince(loser), silence(loser));
  }

  onDialFailed(attempt: Attempt<A, C, R>, failure: ProviderError): void {
    if (failure.kind === "overload" || failure.kind === "internal") return this.fail(failure);
    if (this.#hasRecheckFailed(attempt)) return undefined;
    if (this.#isHopeless(attempt.endpoint, failure)) return undefined;
    // The pool of the endpoint makes the pause between its dials.
    return this.#next();
  }

  /** Counts a failed dial. Where more of them would change nothing, the call ends. */
  #isHopeless(endpoint: Endpoint<A, C>, failure: ProviderError): boolean {
    this.#failures.addDial(endpoint, failure);
    if (!this.#failures.isHopeless(this.shared.endpoints.all.length)) return false;
    this.fail(this.#failures.ofDials ?? failure);
    return true;
  }

  onFailure(attempt: Attempt<A, C, R>, failure: ProviderError): void {
    this.#isSent = true;
    if (failure.kind === "network" || failure.kind === "timeout") return this.#lost(attempt, failure);
    if (failure.kind === "refused" || failure.kind === "bad-reply") return this.#refused(attempt, failure);
    return this.fail(failure);
  }

  /** The connection was lost. */
  #lost(attempt: Attempt<A, C, R>, failure: ProviderError): void {
    const { endpoint, lease } = attempt;
    if (this.#hasRecheckFailed(attempt)) return;
    // In TLS 1.3 a server refuses a certificate only after the dial.
    if (failure.code === "TLS" && endpoint.pool.lastReplyAt < this.#startedAt) {
      if (this.#isHopeless(endpoint, failure)) return;
    } else this.#failures.add(failure);
    this.shared.endpoints.reportSilent(
      endpoint,
      lease?.member.openedAt ?? attempt.startedAt,
      failure.message,
    );
    this.#retries += 1;
    if (this.#retries > 1) return this.#next();
    // An idle connection may just have been closed: the first time nothing is held against a server that is up.
    if (endpoint.health !== "up" || this.attempts.length > 0) return this.#next(0);
    return this.#begin(endpoint, { since: this.#startedAt, isNew: false });
  }

  #refused(attempt: Attempt<A, C, R>, failure: ProviderError): void {
    const { endpoint, lease } = attempt;
    const isResumed = lease?.connection.isResumed ?? false;
    const isFresh = lease === undefined || (lease.member.openedAt >= this.#startedAt && !isResumed);
    const reason = reasonOf(failure);
    const verdict = this.job.verdict(failure, {
      isFresh: isFresh || this.#hasReconnected || endpoint.isUseless(reason),
      isResumed,
      ageMs: lease === undefined ? 0 : performance.now() - lease.member.openedAt,
    });
    if (this.#recheck !== undefined && this.#hasRecheckFailed(attempt, verdict)) return undefined;
    if (failure.kind === "bad-reply") return this.#badReply(attempt, failure);
    if (verdict !== "fail-over") this.shared.endpoints.reportReply(endpoint);
    switch (verdict) {
      case "fail":
        return this.fail(failure);
      case "reconnect":
        return this.#reconnect(attempt, failure, isResumed);
      case "retry-elsewhere":
        return this.#askElsewhere(attempt, failure);
      case "fail-over":
        this.shared.endpoints.reportDown(endpoint, failure.message);
    }
    this.#failures.add(failure);
    this.#retries += 1;
    const asked = this.job.retryAfterMs?.(failure) ?? 0;
    const hasOther = verdict === "fail-over" && this.#untried() !== undefined;
    const pauseMs = hasOther ? 0 : Math.max(asked, this.#pauseMs());
    if (this.attempts.length === 0 && pauseMs > remainingMs(this.context)) return this.fail(failure);
    return this.#next(pauseMs);
  }

  /** What is no reply may come from something before the server: another way may not have that. */
  #badReply(attempt: Attempt<A, C, R>, failure: ProviderError): void {
    const { endpoints } = this.shared;
    this.#badReplies += 1;
    if (endpoints.all.length > 1) endpoints.reportDown(attempt.endpoint, failure.message);
    if (this.#badReplies > endpoints.all.length) return this.fail(failure);
    this.#failures.add(failure);
    this.#retries += 1;
    return this.#next(this.#untried() === undefined ? this.#pauseMs() : 0);
  }

  #reconnect(attempt: Attempt<A, C, R>, failure: ProviderError, isResumed: boolean): void {
    const { endpoint, lease } = attempt;
    this.#hasReconnected = true;
    this.#recheck = { by: endpoint, failure, kind: "reconnect", isResumed };
    if (lease !== undefined) endpoint.pool.retire(lease.member, `${failure.message} on it`);
    this.#begin(endpoint, { since: performance.now(), isNew: true });
  }

  #askElsewhere(attempt: Attempt<A, C, R>, failure: ProviderError): void {
    const reason = `elsewhere: ${failure.code}`;
    const other = this.shared.endpoints.all.find(
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
  #hasRecheckFailed(attempt: Attempt<A, C, R>, verdict: Verdict = "fail"): boolean {
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
    if (recheck.kind === "elsewhere" && this.shared.endpoints.all.some((one) => !this.#tried.includes(one))) {
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
  #next(pauseMs = this.attempts.length > 0 ? 0 : this.#retries === 0 ? 0 : this.#pauseMs()): void {
    if (pauseMs > 0) {
      if (this.attempts.length > 0) return this.#arm();
      this.#alarm?.cancel();
      this.#alarm = setAlarm(pauseMs, () => this.#next(0));
      return undefined;
    }
    const endpoint = this.#nextEndpoint();
    if (this.attempts.some((attempt) => attempt.endpoint === endpoint)) return this.#arm();
    return this.#begin(endpoint, { since: this.#startedAt, isNew: false });
  }

  /** A pause that leaves half of the time that is left. */
  #pauseMs(): number {
    const leftMs = Math.max(remainingMs(this.context), 0);
    return Math.min(backoffMs(this.#retries, replyBackoff), Math.max(replyBackoff.firstMs, leftMs / 2));
  }

  #untried(): Endpoint<A, C> | undefined {
    return this.#inOrder().find((endpoint) => !this.#tried.includes(endpoint));
  }

  /** The order of all calls; but the server that the caller asks for comes first. */
  #inOrder(): readonly Endpoint<A, C>[] {
    const order = this.shared.endpoints.inOrder();
    const { server } = this.context;
    if (server === undefined) return order;
    return order.toSorted((a, b) => Number(b.name === server) - Number(a.name === server));
  }

  /** The next one in order that was not tried in this round. */
  #nextEndpoint(): Endpoint<A, C> {
    const untried = this.#untried();
    if (untried !== undefined) return untried;
    this.#tried = [];
    return this.#inOrder()[0] ?? this.shared.endpoints.active;
  }

  // Hedges.

  /** Looks again when the newest attempt may be overdue. */
  #arm(): void {
    if (this.#isEnded) return;
    const attempt = this.attempts.at(-1);
    if (attempt === undefined) return;
    this.#alarm?.cancel();
    const waitMs = untilHedge(this, attempt);
    this.#alarm = setAlarm(Math.max(waitMs, leastWaitMs), this.#onAlarm);
  }

  readonly #onAlarm = (): void => {
    const attempt = this.attempts.at(-1);
    if (attempt === undefined || this.#isEnded) return;
    for (const one of this.attempts) if (one !== attempt) this.#doubtIfSilent(one);
    if (untilHedge(this, attempt) >= 1) return this.#arm();
    return this.#hedge(attempt);
  };

  /** After how much silence a hedge is due: the first one sooner than those after it. */
  silenceMs(endpoint: Endpoint<A, C>): number {
    this.#firstSilenceMs ??= endpoint.rtt.silenceAfterMs(remainingMs(this.context));
    return this.#isHedged ? repeatHedgeMs : this.#firstSilenceMs;
  }

  /**
   * An endpoint that has answered nobody since then is silent, as far as this attempt can tell. The replies that
   * came just after its request was sent may be those of requests that had been sent before.
   */
  #overdueSince({ endpoint, sentAt, startedAt }: Attempt<A, C, R>): number {
    const silenceMs = this.#firstSilenceMs ?? endpoint.rtt.lateAfterMs();
    return Math.max(sentAt ?? startedAt, performance.now() - silenceMs + 1);
  }

  /** An earlier request than the newest attempt's may have become overdue, too, or have been sent only later. */
  #doubtIfSilent(attempt: Attempt<A, C, R>): void {
    const { endpoint, lease, sentAt } = attempt;
    if (lease === undefined || sentAt === undefined || attempt.isDoubted) return;
    const { pool, rtt } = endpoint;
    const waitedMs = performance.now() - sentAt;
    const isSilent = pool.lastReplyAt < sentAt && waitedMs > this.silenceMs(endpoint);
    // The server answers others, and nothing comes on this connection.
    const isStuck = lease.member.lastReplyAt < sentAt && waitedMs > 2 * rtt.lateAfterMs();
    if (isSilent || isStuck) pool.doubt(lease.member, sentAt);
  }

  /** Sends the request once more, elsewhere where its endpoint is silent; the first attempt goes on. */
  #hedge(attempt: Attempt<A, C, R>): void {
    const { endpoint, sentAt, lease } = attempt;
    const { lastReplyAt } = endpoint.pool;
    // Where others are answered the connection may only be slow: it is doubted once another was quicker.
    if (sentAt !== undefined && lastReplyAt < sentAt && lease !== undefined)
      endpoint.pool.doubt(lease.member, sentAt);
    // An attempt that waits for a connection is joined only where there is another endpoint for it.
    const isSilent = sentAt === undefined || lastReplyAt < this.#overdueSince(attempt);
    this.#isHedged = true;
    if (this.attempts.length >= mostAttempts) {
      const second = this.attempts[1];
      second?.abandon(new ProviderError("CANCELED", "given up for another attempt"));
    }
    const other = isSilent ? elsewhere(this, endpoint) : undefined;
    this.#begin(other ?? endpoint, { since: sentAt ?? attempt.startedAt, isNew: false });
  }
}

/** What a refusal says without its words, which may be other ones each time. */
function reasonOf({ code, details }: ProviderError): string {
  return `${code} ${details["operation"] ?? ""} ${details["reason"] ?? details["status"] ?? ""}`;
}

function silence<A extends Address, C extends Connection, R>(attempt: Attempt<A, C, R>): string {
  const { endpoint, startedAt } = attempt;
  return `${endpoint.name} gave no answer for ${Math.round(performance.now() - startedAt)} ms`;
}

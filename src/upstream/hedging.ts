/** When an attempt that has no reply yet is joined by another one: a hedge. */
import type { Attempt, CallShared } from "./attempt.ts";
import type { Address, Connection } from "./connection.ts";
import { type CallContext, remainingMs } from "./context.ts";
import type { Endpoint } from "./endpoint.ts";

/** Hedges of all calls that may be on the wire at a time: an overloaded KMS must not get more and more to do. */
const mostHedges = 64;
/** An attempt that is begun with less time than this would come too late. */
const leastLeftMs = 200;
/** How often the retry budget is asked again. */
const askBudgetMs = 50;
/** After the first hedge another one is due so often: a path that works for a moment is to be found. */
export const repeatHedgeMs = 500;

/** A call, as far as the time of a hedge depends on it. */
export interface CallState<A extends Address, C extends Connection, R> {
  readonly context: CallContext;
  readonly attempts: readonly Attempt<A, C, R>[];
  readonly shared: CallShared<A, C>;
  /** How long an endpoint may be silent before a hedge is due. */
  silenceMs(endpoint: Endpoint<A, C>): number;
}

/** How long to wait until the call of this attempt looks again, in ms; less than 1: a hedge is due. */
export function untilHedge<A extends Address, C extends Connection, R>(
  call: CallState<A, C, R>,
  attempt: Attempt<A, C, R>,
): number {
  return attempt.sentAt === undefined
    ? untilHeadStartEnds(call, attempt)
    : untilOverdue(call, attempt, attempt.sentAt);
}

/** While a connection is made another endpoint may be tried; more dials to the same one are its pool's work. */
function untilHeadStartEnds<A extends Address, C extends Connection, R>(
  call: CallState<A, C, R>,
  { endpoint, startedAt }: Attempt<A, C, R>,
): number {
  const other = elsewhere(call, endpoint);
  if (other === undefined || remainingMs(call.context) < leastLeftMs) return askBudgetMs;
  const { pool } = endpoint;
  const since = pool.isConnected ? Math.max(startedAt, pool.lastReplyAt) : startedAt;
  const afterMs = pool.isConnected ? call.silenceMs(endpoint) : endpoint.headStartMs;
  const leastMs = hasAttempt(call, other) ? repeatHedgeMs : 0;
  return since + Math.max(afterMs, leastMs) - performance.now();
}

/**
 * Where a hedge goes that leaves `endpoint`: to one without an attempt of the call; else to another one at which every
 * request of the call is on a connection that has become silent. That one may have recovered since, and `endpoint` not.
 */
export function elsewhere<A extends Address, C extends Connection, R>(
  call: CallState<A, C, R>,
  endpoint: Endpoint<A, C>,
): Endpoint<A, C> | undefined {
  const order = call.shared.endpoints.inOrder();
  if (order.length === 1) return undefined;
  const isLeft = (one: Endpoint<A, C>): boolean =>
    one !== endpoint && call.attempts.every((attempt) => attempt.endpoint !== one || attempt.isDoubted);
  return order.find((one) => !hasAttempt(call, one)) ?? order.find(isLeft);
}

function hasAttempt<A extends Address, C extends Connection, R>(
  { attempts }: CallState<A, C, R>,
  endpoint: Endpoint<A, C>,
): boolean {
  return attempts.some((attempt) => attempt.endpoint === endpoint);
}

/** How long to wait until the request is sent once more. */
function untilOverdue<A extends Address, C extends Connection, R>(
  call: CallState<A, C, R>,
  { endpoint, lease }: Attempt<A, C, R>,
  sentAt: number,
): number {
  const { context, shared } = call;
  const leftMs = remainingMs(context);
  // The deadline may be moved while the call waits.
  if (leftMs < leastLeftMs) return Math.max(leftMs, askBudgetMs);
  if (shared.hedges.count >= mostHedges) return askBudgetMs;
  const now = performance.now();
  const member = lease?.member;
  const heardAt = member?.state === "ready" ? endpoint.pool.lastReplyAt : (member?.lastReplyAt ?? 0);
  const silenceMs = call.silenceMs(endpoint);
  const untilSilent = Math.max(sentAt, heardAt) + silenceMs - now;
  const lateAfterMs = endpoint.rtt.lateAfterMs();
  const untilLate = sentAt + lateAfterMs - now;
  // A connection on which nothing came for so long is worse than slow.
  const isStuck = (member?.lastReplyAt ?? 0) < sentAt && now - sentAt > 2 * lateAfterMs;
  if (untilSilent < 1 || isStuck) return 0;
  // While nobody is answered, silence alone decides: a hedge that came sooner would go to the same silent server.
  const hasOther = shared.endpoints.all.length > 1;
  if (heardAt <= sentAt || (hasOther && heardAt <= now - silenceMs / 2)) return untilSilent;
  if (untilLate < 1) return shared.budget.take() ? 0 : Math.min(untilSilent, askBudgetMs);
  return Math.min(untilSilent, untilLate);
}

/**
 * One request, by as many tries as it takes inside the caller's time. Everything this program sends can be
 * repeated safely. A try whose connection is lost, or that gets bytes which are no reply, is followed by
 * another; a first try whose reply is overdue is joined by others on new connections, one at a time, and the
 * first reply wins. A server that answers others meanwhile is slow: then a caller joins its own try only now and then.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { abortError, createSetbacks, type Setbacks } from "../upstream/abort.ts";
import { ProviderError, TimeoutError, toProviderError, type ErrorCode } from "../errors.ts";
import type { Patience } from "../upstream/rtt.ts";
import type { SecondChances } from "../upstream/retry-budget.ts";
import type { Connection } from "./connection.ts";
import type { Lease, Pool } from "./pool.ts";

/** What bounds a request. */
export interface RequestContext {
  /** Everything stops when it aborts. */
  readonly signal: AbortSignal;
  /** When the caller's time is over, in ms of `performance.now()`; read anew at each try. Default: never. */
  readonly deadline?: number;
  /** The caller's mark for the request, handed on in events. */
  readonly uid?: string;
  /** An overdue try goes on beside this one; set here only. */
  readonly joins?: boolean;
}

/** Sends a request on a connection, made anew for each try, and reads the reply. */
export type Talk<T> = (connection: Connection, signal: AbortSignal) => Promise<T>;

const firstPauseMs = 50;
const longestPauseMs = 250;
/** A try that is begun with less time than this would cost a connection, and come too late. */
const leastLeftMs = 200;
/** How often is looked whether a slow server may be asked once more, at the most. */
const leastWaitMs = 10;

/** Failures of the connection: tried again for as long as the caller's time allows. */
const lostCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["CONNECT", "TLS", "CLOSED"]);

/** Bytes that are no reply to the request: a server that goes on sending them would go on for ever. */
const brokenCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "TTLV_TRUNCATED",
  "TTLV_LENGTH",
  "TTLV_TYPE",
  "TTLV_TAG",
  "TTLV_DEPTH",
  "TTLV_PADDING",
  "TTLV_UTF8",
  "TTLV_VALUE",
  "KMIP_FRAME_TOO_LARGE",
  "KMIP_UNEXPECTED",
]);
const mostBroken = 3;

/** A server that answers has said these: nothing better is to be hoped for from one that is silent. */
const answerCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["KMIP_RESULT", "KMIP_VERSION"]);

/** What requests are sent through. */
export interface Channel {
  readonly pool: Pool;
  /** Judges when a reply is overdue. */
  readonly patience: Patience;
  readonly secondChances: SecondChances;
}

/**
 * Does `talk` on connections of the pool until it succeeds. The second try follows the first at once, the others
 * after a growing pause.
 * @throws what the last try failed with; what `checkOut` throws; TIMEOUT where the server was silent; CANCELED.
 */
export async function untilAnswered<T>(channel: Channel, context: RequestContext, talk: Talk<T>): Promise<T> {
  const setbacks = createSetbacks();
  try {
    return await tryAgain(channel, context, talk, setbacks);
  } catch (error) {
    throw setbacks.insteadOf(toProviderError(error));
  }
}

async function tryAgain<T>(
  channel: Channel,
  context: RequestContext,
  talk: Talk<T>,
  setbacks: Setbacks,
): Promise<T> {
  let broken = 0;
  for (let pauseMs = 0; ; pauseMs = Math.min(Math.max(firstPauseMs, pauseMs * 2), longestPauseMs)) {
    const lease = await channel.pool.checkOut(context.signal);
    try {
      return await tryOnce(channel, lease, context, talk);
    } catch (error) {
      const failure = toProviderError(error);
      if (isGivenUp(failure, context)) continue;
      if (brokenCodes.has(failure.code)) broken += 1;
      else if (!lostCodes.has(failure.code)) throw failure;
      if (broken >= mostBroken || remaining(context) <= pauseMs) throw failure;
      setbacks.add(failure);
      if (pauseMs > 0) await pause(pauseMs, context.signal, failure);
    }
  }
}

/** A try that was given up for another, while the caller has time left. */
function isGivenUp({ code }: ProviderError, { signal }: RequestContext): boolean {
  return code === "TIMEOUT" && !signal.aborted;
}

/** One try, where its reply is overdue joined by others or, where it is one of these itself, given up for another. */
async function tryOnce<T>(
  channel: Channel,
  lease: Lease,
  context: RequestContext,
  talk: Talk<T>,
): Promise<T> {
  const first = talkOn(channel, lease, talk, context.signal);
  if (!(await isOverdue(first, channel, lease, context))) return first;
  const why = `${lease.connection.endpoint.name} takes connections and answers no request`;
  if (!lease.doubt(why) || context.joins === true) {
    lease.giveUp(new TimeoutError("response", why));
    return first;
  }
  const callOff = new AbortController();
  const follow = (): void => callOff.abort(context.signal.reason);
  context.signal.addEventListener("abort", follow, { once: true });
  if (context.signal.aborted) follow();
  try {
    return await earliest(first, untilAnswered(channel, joining(context, callOff.signal), talk));
  } finally {
    context.signal.removeEventListener("abort", follow);
    const reason = new ProviderError("CANCELED", "the reply came on another connection");
    callOff.abort(reason);
    lease.giveUp(reason);
  }
}

/** Waits until the reply is there (false), or so late that the request is to be sent once more (true). */
async function isOverdue(
  reply: Promise<unknown>,
  { patience, secondChances }: Channel,
  lease: Lease,
  context: RequestContext,
): Promise<boolean> {
  const sentAt = performance.now();
  const silenceMs = patience.withSilence(remaining(context));
  for (let waitMs = silenceMs; await isPending(reply, waitMs);) {
    const leftMs = remaining(context);
    const untilSilentMs = silenceMs - lease.silentMs();
    // A caller's time may be moved while it waits.
    waitMs = Math.max(leftMs < leastLeftMs ? leftMs : untilSilentMs, leastWaitMs);
    if (leftMs < leastLeftMs) continue;
    if (untilSilentMs < 1) return true;
    if (performance.now() - sentAt >= patience.withReply() && secondChances.take()) return true;
  }
  return false;
}

/** Talks, then gives the connection back; where it was lost the idle ones beside it are not trusted either. */
async function talkOn<T>(
  { patience, secondChances }: Channel,
  lease: Lease,
  talk: Talk<T>,
  signal: AbortSignal,
): Promise<T> {
  const startedAt = performance.now();
  let isAnswered = false;
  try {
    const reply = await talk(lease.connection, signal);
    isAnswered = true;
    patience.remember(performance.now() - startedAt);
    secondChances.earn();
    return reply;
  } catch (error) {
    const failure = toProviderError(error);
    if (lostCodes.has(failure.code) || brokenCodes.has(failure.code)) {
      lease.doubt(failure.message);
      lease.connection.destroy(failure);
    }
    throw failure;
  } finally {
    lease.release(isAnswered);
  }
}

/** The context of a try that joins another. Its deadline stays the caller's, which may be moved while the call lasts. */
function joining(context: RequestContext, signal: AbortSignal): RequestContext {
  return {
    ...context,
    signal,
    joins: true,
    get deadline() {
      return context.deadline ?? Infinity;
    },
  };
}

function remaining({ deadline = Infinity }: RequestContext): number {
  return deadline - performance.now();
}

/** Resolves to false as soon as `promise` has settled in either way, or to true after `ms`. */
function isPending(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms, true);
    const onSettled = (): void => {
      clearTimeout(timer);
      resolve(false);
    };
    promise.then(onSettled, onSettled);
  });
}

/** The first to succeed, or to hear a server's refusal; where both fail, what says more than silence. */
function earliest<T>(first: Promise<T>, others: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    others.catch((error: unknown) => {
      if (answerCodes.has(toProviderError(error).code)) reject(error);
    });
    Promise.any([first, others]).then(resolve, (error: unknown) => reject(mostTelling(error)));
  });
}

function mostTelling(error: unknown): unknown {
  const failures = error instanceof AggregateError ? error.errors.map(toProviderError) : [];
  return failures.find(({ code }) => code !== "TIMEOUT" && code !== "CANCELED") ?? failures[0] ?? error;
}

async function pause(ms: number, signal: AbortSignal, cause: ProviderError): Promise<void> {
  try {
    await sleep(ms * (0.75 + Math.random() / 2), undefined, { signal });
  } catch {
    throw abortError(signal, "retry", "waiting to try again", cause);
  }
}

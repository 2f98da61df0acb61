/**
 * How much work an endpoint has, and how fast it does it: from that follows whether one more call can be answered in
 * time. A call that cannot is refused at once, so that the server works for those that still wait, and a window
 * bounds what is sent to the server, so that the queue is here, where deadlines are known, and not in the server.
 */
import { ProviderError } from "../errors.ts";

/** The work of one endpoint. Times in ms. */
export interface Load {
  /** Calls that wait for this endpoint or its reply. */
  readonly pending: number;
  /** Whether so many calls are pending that some may be refused as they come. */
  readonly isCrowded: boolean;
  /** How many requests may be on the wire at a time. */
  readonly window: number;
  /**
   * How long one more call is expected to take; 0 while that is not known, or more could still be sent at a time.
   * @param isFull whether no more connections may be opened
   */
  expectedMs(isFull: boolean): number;
  /** How long the server needs for so many requests, at the pace of its last replies; 0 while that is not known. */
  workMs(requests: number): number;
  /** Whether replies have come without a longer pause since `moment`, and still do. */
  isSteadySince(moment: number): boolean;
  /** A call joins. */
  enter(): void;
  /** A call leaves, answered or not. */
  leave(): void;
  /**
   * A reply came.
   * @param rttMs what it took
   * @param leftMs how much time its call had when the request was sent
   * @param isWindowFull whether the window was full then
   */
  replied(rttMs: number, leftMs: number, isWindowFull: boolean): void;
  /** A call's time ended while the endpoint answered others: the expectation was too good. */
  missed(): void;
}

/** Replies whose time together gives one measurement. */
const blockReplies = 16;
/** Before the first measurement so many replies are enough. */
const fewReplies = 4;
/** After a longer pause between two replies the endpoint is no longer steady. */
const steadyGapMs = 1_000;
/** Fewer replies say nothing of how fast a server is. */
const steadyReplies = 8;
/** The fastest of so many measurements counts: one of them may hold a short fault that is over. */
const keptBlocks = 4;
const blockLifeMs = 10_000;
/** At the beginning; it grows by one with each quick reply while it is full. */
const firstWindow = 16;
const smallestWindow = 4;
/**
 * A round trip of less, or of less than twice the shortest one lately, is no sign of a queue in the server. A longer pause
 * between two replies may be an outage: the pace is not measured across it.
 */
const quickMs = 250;
/** For how long the endpoint counts as saturated after the window was made smaller. */
const saturatedMs = 10_000;
const mostPessimism = 4;
/** So few calls are not refused as they come: in the queue each keeps its place as long as its time allows. */
const fewCalls = 24;

interface Block {
  readonly msPerReply: number;
  readonly endedAt: number;
}

/** Makes a load without any work. */
export function createLoad(): Load {
  let pending = 0;
  let window = firstWindow;
  let shortestMs = Number.MAX_VALUE;
  let shrunkAt: number | undefined;
  let pessimism = 1;
  let blocks: Block[] = [];
  let startedAt: number | undefined;
  let replies = 0;
  let lastReplyAt = 0;
  const steady = { since: 0, replies: 0 };

  const longestQuickMs = (): number => Math.max(quickMs, 2 * shortestMs);

  const countSteady = (now: number): void => {
    if (now - lastReplyAt > steadyGapMs) {
      steady.since = now;
      steady.replies = 0;
    }
    steady.replies += 1;
  };

  /** Counts from the first reply on: what came before it may have been a dial, or an outage. */
  const count = (now: number): void => {
    if (now - lastReplyAt > Math.min(steadyGapMs, longestQuickMs())) {
      startedAt = undefined;
      replies = 0;
    }
    startedAt ??= now;
    replies += 1;
    if (replies <= blockReplies) return;
    blocks.push({ msPerReply: (now - startedAt) / blockReplies, endedAt: now });
    if (blocks.length > keptBlocks) blocks.shift();
    startedAt = now;
    replies = 1;
  };

  const workMs = (requests: number): number => {
    const now = performance.now();
    blocks = blocks.filter(({ endedAt }) => endedAt > now - blockLifeMs);
    if (blocks.length > 0) return requests * Math.min(...blocks.map(({ msPerReply }) => msPerReply));
    if (startedAt === undefined || replies < fewReplies) return 0;
    // A silence that goes on now is no pace, either.
    return (requests * (lastReplyAt - startedAt)) / (replies - 1);
  };

  const adaptWindow = (rttMs: number, leftMs: number, isWindowFull: boolean): void => {
    // The shortest time rises slowly, so that a server that became slower is known to be after a while.
    shortestMs = Math.min(rttMs, shortestMs * 1.01);
    const isQuick = rttMs < longestQuickMs();
    if (!isQuick && rttMs > leftMs / 2) {
      window = Math.max(smallestWindow, window * 0.9);
      shrunkAt = performance.now();
    } else if (isQuick && isWindowFull) window += 1;
  };

  return {
    get pending() {
      return pending;
    },
    get isCrowded() {
      return pending >= fewCalls;
    },
    get window() {
      return window;
    },
    expectedMs: (isFull) => {
      if (pending < fewCalls) return 0;
      const isSaturated = isFull || (shrunkAt !== undefined && performance.now() - shrunkAt < saturatedMs);
      if (!isSaturated) return 0;
      return workMs(pending + 1) * pessimism;
    },
    workMs,
    isSteadySince: (moment) => {
      const isRecent = performance.now() - lastReplyAt < steadyGapMs;
      return isRecent && steady.replies >= steadyReplies && steady.since <= moment + steadyGapMs;
    },
    enter: () => {
      if (pending === 0) {
        startedAt = undefined;
        replies = 0;
      }
      pending += 1;
    },
    leave: () => {
      pending -= 1;
    },
    replied: (rttMs, leftMs, isWindowFull) => {
      const now = performance.now();
      countSteady(now);
      count(now);
      lastReplyAt = now;
      adaptWindow(rttMs, leftMs, isWindowFull);
      pessimism = Math.max(1, pessimism * 0.995);
    },
    missed: () => {
      pessimism = Math.min(mostPessimism, pessimism * 1.1);
    },
  };
}

/** A call is refused for overload only where the server has answered others for about so long. */
const provenMs = 3_000;

/** An endpoint, as far as its load concerns. */
export interface Loaded {
  readonly name: string;
  readonly load: Load;
  readonly pool: { readonly isFull: boolean };
}

/** The refusal of a call that cannot be answered in the time it has; undefined where it can. */
export function overloadOf(endpoint: Loaded, leftMs: number): ProviderError | undefined {
  const { load, pool } = endpoint;
  // After an outage nothing is known of how fast the server is.
  if (!load.isSteadySince(performance.now() - provenMs)) return undefined;
  return load.expectedMs(pool.isFull) > leftMs ? overloaded(endpoint) : undefined;
}

/** The refusal of a call that this endpoint could not answer in time. */
export function overloaded({ name, load }: Loaded): ProviderError {
  return new ProviderError("OVERLOADED", `${name} has too much to do to answer in time`, {
    details: { endpoint: name, pending: load.pending },
  });
}

/**
 * How much work an endpoint has, and how fast it does it: from that follows whether one more call can be answered in
 * time. A call that cannot is refused at once, so that the server works for those that still wait, and a window
 * bounds what is sent to the server, so that the queue is here, where deadlines are known, and not in the server.
 */

/** The work of one endpoint. Times in ms. */
export interface Load {
  /** Calls that wait for this endpoint or its reply. */
  readonly pending: number;
  /** How many requests may be on the wire at a time. */
  readonly window: number;
  /** How long one more call is expected to take; 0 while that is not known. */
  expectedMs(): number;
  /** A call joins. */
  enter(): void;
  /** A call leaves, answered or not. */
  leave(): void;
  /**
   * A reply came.
   * @param rttMs what it took
   * @param usedWindow whether the window was full meanwhile
   */
  replied(rttMs: number, usedWindow: boolean): void;
  /** A call's time ended while the endpoint answered others: the expectation was too good. */
  missed(): void;
}

/** Replies whose time together gives one measurement. */
const blockReplies = 16;
/** The fastest of so many measurements counts: one of them may hold an outage that is over. */
const keptBlocks = 4;
const blockLifeMs = 10_000;
/** At the beginning; it grows by one with each reply while it is full. */
const firstWindow = 16;
const smallestWindow = 4;
/** A round trip of so much more than the shortest one lately, and of more than `slowMs`, is waiting in the server. */
const queueFactor = 4;
const slowMs = 250;
const mostPessimism = 4;

interface Block {
  readonly msPerReply: number;
  readonly endedAt: number;
}

/** Makes a load without any work. */
export function createLoad(): Load {
  let pending = 0;
  let window = firstWindow;
  let shortestMs = Infinity;
  let pessimism = 1;
  let blocks: Block[] = [];
  let startedAt = 0;
  let replies = 0;

  const count = (now: number): void => {
    replies += 1;
    if (replies < blockReplies) return;
    blocks.push({ msPerReply: (now - startedAt) / replies, endedAt: now });
    if (blocks.length > keptBlocks) blocks.shift();
    startedAt = now;
    replies = 0;
  };

  const adaptWindow = (rttMs: number, usedWindow: boolean): void => {
    // The shortest time rises slowly, so that a server that became slower is known to be after a while.
    shortestMs = Math.min(rttMs, shortestMs * 1.01);
    if (rttMs > Math.max(slowMs, queueFactor * shortestMs)) window = Math.max(smallestWindow, window * 0.9);
    else if (usedWindow) window += 1;
  };

  return {
    get pending() {
      return pending;
    },
    get window() {
      return window;
    },
    expectedMs: () => {
      const since = performance.now() - blockLifeMs;
      blocks = blocks.filter(({ endedAt }) => endedAt > since);
      if (blocks.length === 0) return 0;
      const fastest = Math.min(...blocks.map(({ msPerReply }) => msPerReply));
      return (pending + 1) * fastest * pessimism;
    },
    enter: () => {
      if (pending === 0) {
        startedAt = performance.now();
        replies = 0;
      }
      pending += 1;
    },
    leave: () => {
      pending -= 1;
    },
    replied: (rttMs, usedWindow) => {
      count(performance.now());
      adaptWindow(rttMs, usedWindow);
      pessimism = Math.max(1, pessimism * 0.995);
    },
    missed: () => {
      pessimism = Math.min(mostPessimism, pessimism * 1.1);
    },
  };
}

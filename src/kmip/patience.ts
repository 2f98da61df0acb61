/**
 * When a reply is overdue: after a time judged from the replies before it. A server that is always slow is waited
 * for; one that has fallen silent, for this caller and all others, is not waited for long. A late reply counts too, for an overdue one is still
 * waited for: a server that becomes slow is soon known to be.
 */
import { createReplyTimes } from "../reply-times.ts";

/** Remembers how long replies take. */
export interface Patience {
  /**
   * How long a server may be silent before another connection is tried too, in ms; `leftMs` is the caller's time when
   * the request is sent.
   */
  withSilence(leftMs: number): number;
  /** After how long a reply is late for one of this server, whatever the caller's time; in ms. */
  withReply(): number;
  /** The same talk, the time of each success remembered. */
  timed<Given extends unknown[], T>(talk: (...given: Given) => Promise<T>): (...given: Given) => Promise<T>;
}

/** Below this a wait says more of this machine than of the server. */
const leastMs = 250;
const mostMs = 5000;
/** However little time is left: a try that has no time to succeed would only cost connections. */
const floorMs = 50;

/** Makes a patience that knows of no reply yet: a third of the caller's time. */
export function createPatience(): Patience {
  const times = createReplyTimes();
  const withReply = (): number => {
    const known = times.estimate();
    if (known === undefined) return mostMs;
    const { smoothedMs, variationMs } = known;
    return Math.min(Math.max(smoothedMs + 4 * variationMs, 2 * smoothedMs, leastMs), mostMs);
  };
  return {
    withReply,
    withSilence: (leftMs) => {
      // What joins the first try may have to connect to another server first, and to queue there: it needs more time.
      const share = Math.max(leftMs / 3, floorMs);
      const usual = Math.min(1.25 * (times.estimate()?.smoothedMs ?? 0), (2 * leftMs) / 3);
      return Math.min(withReply(), Math.max(share, usual));
    },
    timed:
      (talk) =>
      async (...given) => {
        const started = performance.now();
        const result = await talk(...given);
        times.remember(performance.now() - started);
        return result;
      },
  };
}

/**
 * When a reply is overdue: after a time judged from the replies before it, as TCP judges its retransmissions (RFC
 * 6298). A server that is always slow is waited for; one that has fallen silent is not waited for long. A late reply
 * counts too, for an overdue one is still waited for: a server that becomes slow is soon known to be.
 */
import type { Talk } from "./tries.ts";

/** Remembers how long replies take. */
export interface Patience {
  /** How long to wait for a reply before another connection is tried too, in ms; `leftMs` is the caller's time. */
  forReply(leftMs: number): number;
  /** The same talk, the time of each success remembered. */
  timed<T>(talk: Talk<T>): Talk<T>;
}

/** Below this a wait says more of this machine than of the server. */
const leastMs = 250;
const mostMs = 5000;

/** Makes a patience that knows of no reply yet: half of the caller's time. */
export function createPatience(): Patience {
  let smoothedMs: number | undefined;
  let variationMs = 0;

  const remember = (ms: number): void => {
    if (smoothedMs === undefined) {
      smoothedMs = ms;
      variationMs = ms / 2;
      return;
    }
    variationMs += (Math.abs(smoothedMs - ms) - variationMs) / 4;
    smoothedMs += (ms - smoothedMs) / 8;
  };
  return {
    forReply: (leftMs) => {
      // Never more than half of what is left: what joins the first try is to have as much time as it had.
      const most = Math.min(leftMs / 2, mostMs);
      if (smoothedMs === undefined) return most;
      return Math.min(Math.max(smoothedMs + 4 * variationMs, 2 * smoothedMs, leastMs), most);
    },
    timed: (talk) => async (connection, signal) => {
      const started = performance.now();
      const result = await talk(connection, signal);
      remember(performance.now() - started);
      return result;
    },
  };
}

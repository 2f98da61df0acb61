/**
 * When a reply is overdue: after a time judged from the replies before it. A server that is always slow is waited
 * for; one that has fallen silent, for this caller and all others, is not waited for long. A late reply counts too
 * where it is still waited for: a server that becomes slow is soon known to be.
 */

/** Remembers how long replies take. Times in ms. */
export interface Patience {
  /** How long a server may be silent before it is asked again, for a caller with `leftMs` when the request is sent. */
  withSilence(leftMs: number): number;
  /** After how long a reply is late for one of this server, whatever the caller's time. */
  withReply(): number;
  /** A reply came after so long. */
  remember(ms: number): void;
}

/** While nothing is known. */
const firstMs = 1000;
const mostMs = 5000;
/** However little time is left: a try that has no time to succeed would only cost connections. */
const floorMs = 50;

/**
 * Makes a patience that knows of no reply yet.
 * @param leastMs below this a wait says more of this machine, or of a dial, than of the server.
 */
export function createPatience(leastMs: number): Patience {
  // Judged as TCP judges its round trips (RFC 6298, section 2): a smoothed time, and how single ones vary about it.
  let known: { readonly smoothedMs: number; readonly variationMs: number } | undefined;
  const withReply = (): number => {
    if (known === undefined) return firstMs;
    const { smoothedMs, variationMs } = known;
    return Math.min(Math.max(smoothedMs + 4 * variationMs, 2 * smoothedMs, leastMs), mostMs);
  };
  return {
    withReply,
    withSilence: (leftMs) => {
      // The next try may have to connect to another server first, and to queue there: it needs more time than this one.
      const share = Math.max(leftMs / 3, floorMs);
      const usual = Math.min(1.25 * (known?.smoothedMs ?? 0), (2 * leftMs) / 3);
      return Math.min(withReply(), Math.max(share, usual));
    },
    remember: (ms) => {
      if (known === undefined) {
        known = { smoothedMs: ms, variationMs: ms / 2 };
        return;
      }
      const { smoothedMs, variationMs } = known;
      known = {
        smoothedMs: smoothedMs + (ms - smoothedMs) / 8,
        variationMs: variationMs + (Math.abs(smoothedMs - ms) - variationMs) / 4,
      };
    },
  };
}

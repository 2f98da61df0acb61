/**
 * How long replies of one endpoint usually take, and from when on one is late: estimated as TCP estimates its round
 * trips (RFC 6298, section 2). An endpoint that is always slow is waited for; one that has become silent is not waited
 * for long.
 */

/** Estimates the round trip of one endpoint. Times in ms. */
export interface RttEstimator {
  /** The smoothed round trip; 0 before the first reply. */
  readonly smoothedMs: number;
  /** How long the endpoint may be silent before the request is sent again, for a caller with `leftMs` left. */
  silenceAfterMs(leftMs: number): number;
  /** After how long a single reply is late, whatever time the caller has left. */
  lateAfterMs(): number;
  /** A reply took `ms`. */
  observe(ms: number): void;
}

/** While nothing is known. */
const initialMs = 1_000;
const longestMs = 5_000;
/** Below this a wait says more of this machine than of the server. */
const shortestMs = 250;
/** However little time is left: an attempt that has no time to succeed would only cost connections. */
const shortestSilenceMs = 50;

/** Makes an estimator without any reply. */
export function createRttEstimator(): RttEstimator {
  let known: { smoothedMs: number; variationMs: number } | undefined;
  const lateAfterMs = (): number => {
    if (known === undefined) return initialMs;
    const { smoothedMs, variationMs } = known;
    return Math.min(Math.max(smoothedMs + 4 * variationMs, 2 * smoothedMs, shortestMs), longestMs);
  };
  return {
    get smoothedMs() {
      return known?.smoothedMs ?? 0;
    },
    lateAfterMs,
    silenceAfterMs: (leftMs) => {
      // The next attempt may have to connect to another server first: it needs more time than this one.
      const share = Math.max(leftMs / 3, shortestSilenceMs);
      const usual = Math.min(1.25 * (known?.smoothedMs ?? 0), (2 * leftMs) / 3);
      return Math.min(lateAfterMs(), Math.max(share, usual));
    },
    observe: (ms) => {
      if (known === undefined) {
        known = { smoothedMs: ms, variationMs: ms / 2 };
        return;
      }
      const { smoothedMs, variationMs } = known;
      known.smoothedMs = smoothedMs + (ms - smoothedMs) / 8;
      known.variationMs = variationMs + (Math.abs(smoothedMs - ms) - variationMs) / 4;
    },
  };
}

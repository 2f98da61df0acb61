/**
 * How long replies take, judged as TCP judges its round trips (RFC 6298, section 2): a smoothed time and how
 * much single ones vary about it. What follows from that is for whoever waits to say.
 */

/** The estimate. */
export interface ReplyTimes {
  /** A reply came after so long, in ms. */
  remember(ms: number): void;
  /** The smoothed time and its mean variation, in ms; undefined before the first reply. */
  estimate(): { readonly smoothedMs: number; readonly variationMs: number } | undefined;
}

/** Makes an estimate that knows of no reply yet. */
export function createReplyTimes(): ReplyTimes {
  let known: { readonly smoothedMs: number; readonly variationMs: number } | undefined;
  return {
    remember(ms) {
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
    estimate: () => known,
  };
}

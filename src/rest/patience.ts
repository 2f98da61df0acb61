/**
 * When a reply is overdue: after a time judged from the replies before it, as TCP judges its retransmissions (RFC
 * 6298). A KMS that is always slow is waited for; one that has fallen silent is not waited for long.
 */

/** Remembers how long replies take. */
export interface Patience {
  /** How long to wait for a reply before asking once more, in ms, for a caller who has `leftMs`. */
  forReply(leftMs: number): number;
  /** A reply came after so long. */
  remember(ms: number): void;
}

/** Below this a wait says more of a dial, or of this machine, than of the KMS. */
const leastMs = 500;
const mostMs = 5_000;
/** However little time is left: not even then without a pause. */
const lastMs = 50;
/** While nothing is known. */
const firstMs = 1_000;

/** Makes a patience that knows of no reply yet. */
export function createPatience(): Patience {
  let smoothedMs: number | undefined;
  let variationMs = 0;
  return {
    forReply(leftMs) {
      const usual = smoothedMs === undefined ? firstMs : smoothedMs + 4 * variationMs;
      // Whatever is usual, a caller's time is to suffice for a second and a third try.
      return Math.min(Math.max(usual, leastMs), mostMs, Math.max(leftMs / 3, lastMs));
    },
    remember(ms) {
      variationMs =
        smoothedMs === undefined ? ms / 2 : variationMs + (Math.abs(smoothedMs - ms) - variationMs) / 4;
      smoothedMs = smoothedMs === undefined ? ms : smoothedMs + (ms - smoothedMs) / 8;
    },
  };
}

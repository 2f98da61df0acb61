/**
 * When a reply is overdue: after a time judged from the replies before it. A KMS that is always slow is waited for;
 * one that has fallen silent is not waited for long.
 */
import { createReplyTimes } from "../reply-times.ts";

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
  const times = createReplyTimes();
  return {
    forReply(leftMs) {
      const known = times.estimate();
      const usual = known === undefined ? firstMs : known.smoothedMs + 4 * known.variationMs;
      // Whatever is usual, a caller's time is to suffice for a second and a third try.
      return Math.min(Math.max(usual, leastMs), mostMs, Math.max(leftMs / 3, lastMs));
    },
    remember: times.remember,
  };
}

/**
 * How many requests may be sent a second time although their server answers others: a server that is slow because it has
 * too much to do must not get more to do for it. The rule of gRPC's retry throttling (proposal A6): replies earn retries.
 */

/** A budget, shared by all calls. */
export interface RetryBudget {
  /** A reply came. */
  earn(): void;
  /** Takes one retry; false where there is none. */
  take(): boolean;
}

const mostRetries = 3;
const perReply = 0.1;

/** Makes a full budget. */
export function createRetryBudget(): RetryBudget {
  let left = mostRetries;
  return {
    earn: () => {
      left = Math.min(left + perReply, mostRetries);
    },
    take: () => {
      if (left < 1) return false;
      left -= 1;
      return true;
    },
  };
}

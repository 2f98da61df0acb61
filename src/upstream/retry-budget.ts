/**
 * How many requests may be sent a second time although their server does answer others. One that is slow because it
 * has too much to do is not to get more to do for it; one path of several that died is to be got around. The same
 * rule as gRPC's for retries (proposal A6, "retry throttling"): replies earn them.
 */

/** A budget, shared by all callers. */
export interface SecondChances {
  /** A reply came. */
  earn(): void;
  /** Takes one, where there is one. */
  take(): boolean;
}

const most = 3;
const perReply = 0.1;

/** Makes a full budget. */
export function createSecondChances(): SecondChances {
  let left = most;
  return {
    earn: () => {
      left = Math.min(left + perReply, most);
    },
    take: () => {
      if (left < 1) return false;
      left -= 1;
      return true;
    },
  };
}

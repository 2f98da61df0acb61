/** The one back-off of the connections to a KMS: it doubles up to a bound, with jitter, so that clients spread out. */

/** Bounds of a back-off, in ms. */
export interface BackoffLimits {
  readonly firstMs: number;
  readonly longestMs: number;
}

/** After a connection that failed. A caller waits during every pause, so a long one could cost its call. */
export const dialBackoff: BackoffLimits = { firstMs: 50, longestMs: 250 };

/** After a reply that says "not now". */
export const replyBackoff: BackoffLimits = { firstMs: 100, longestMs: 1_000 };

/**
 * The pause after `failures` failures in a row (1 or more), in ms: a random part, half to whole, of a time that doubles.
 * @param random gives 0 to 1. Default: Math.random.
 */
export function backoffMs(
  failures: number,
  { firstMs, longestMs }: BackoffLimits,
  random: () => number = Math.random,
): number {
  const whole = Math.min(longestMs, firstMs * 2 ** Math.min(failures - 1, 30));
  return whole * (0.5 + random() / 2);
}

/** A quarter more or less than `ms`, so that several control planes do not act at the same moment. */
export function jittered(ms: number): number {
  return ms * (0.75 + Math.random() / 2);
}

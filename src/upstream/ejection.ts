/**
 * How long an endpoint that failed its callers is not returned to, though it passes its health checks: a server that
 * accepts connections and then answers nobody looks healthy whenever it is checked. As Envoy's outlier detection, each
 * ejection in a row takes longer.
 */

/** The ejections of one endpoint. */
export interface Ejection {
  /** It failed the callers that were sent to it. */
  record(): void;
  /** Whether it must not be returned to yet. */
  readonly isActive: boolean;
}

/** The longest ejection, as a multiple of the time between two health checks. */
const longestFactor = 12;

/**
 * Makes a record without any.
 * @param checkMs the time between two health checks. The first ejection takes no longer than that; each one that
 *   follows before three longest ejections have passed takes twice as long, up to twelve times `checkMs`.
 */
export function createEjection(checkMs: number): Ejection {
  let inARow = 0;
  let lastAt: number | undefined;
  const lastsMs = (): number => (inARow < 2 ? 0 : checkMs * Math.min(2 ** (inARow - 1), longestFactor));
  return {
    record: () => {
      const now = performance.now();
      inARow = lastAt !== undefined && now - lastAt < 3 * longestFactor * checkMs ? inARow + 1 : 1;
      lastAt = now;
    },
    get isActive() {
      return lastAt !== undefined && performance.now() < lastAt + lastsMs();
    },
  };
}

/**
 * A server that accepts connections and then serves nobody looks well whenever it is tried. Each time that one
 * fails so again it is left alone for longer, so that those who wait are not handed to it every few seconds.
 */

/** Remembers the relapses of one server. */
export interface Relapses {
  /** It failed those who were handed to it. */
  note(): void;
  /** Whether it is not yet to be tried in the place of another that serves. */
  isResting(): boolean;
}

/** The longest rest, as a multiple of the shortest time between two tries. */
const mostRests = 12;

/**
 * Makes a record without any.
 * @param retryMs how often it would be tried without relapses. The first adds nothing to it, each further one that
 *   follows before three longest rests are over doubles the rest, up to twelve times `retryMs`.
 */
export function createRelapses(retryMs: number): Relapses {
  let inARow = 0;
  let lastAt = -Infinity;
  const restMs = (): number => (inARow < 2 ? 0 : retryMs * Math.min(2 ** (inARow - 1), mostRests));
  return {
    note: () => {
      const now = performance.now();
      inARow = now - lastAt < 3 * mostRests * retryMs ? inARow + 1 : 1;
      lastAt = now;
    },
    isResting: () => performance.now() < lastAt + restMs(),
  };
}

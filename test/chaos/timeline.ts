/**
 * When each path to the KMS was healthy, and from it whether a call had to succeed: one that failed although,
 * between its start and its deadline, one of the paths was healthy for {@link healthyForMs} in one piece, or that failed in a way that nothing on the timeline explains, is a fault of the plugin.
 */
import type { FailedCall } from "./messages.ts";

/**
 * A path must have been there for so long to count, unless told otherwise: time to see that what hangs hangs, to dial anew (five round
 * trips of 20 ms), and to ask once more.
 */
const healthyForMs = 1000;

interface Interval {
  readonly from: number;
  to: number;
  /** The path that is not healthy meanwhile. */
  readonly path?: string;
  /** gRPC codes by which calls may fail meanwhile, because the KMS itself says no. */
  readonly refusals?: readonly number[];
}

/** See above. Times of the shared clock. */
export interface Timeline {
  /** From now on these paths are not healthy. Returns what ends that. */
  dark(names: readonly string[]): () => void;
  /** From now on the KMS refuses, so that calls may fail by these codes. Returns what ends that. */
  refusing(codes: readonly number[]): () => void;
  /** Whether the KMS itself refused it. */
  isRefused(call: FailedCall): boolean;
  /** Whether any path was healthy for long enough. To be asked after the call's deadline. */
  hadPath(call: FailedCall): boolean;
}

/** Makes one. @param names of all paths @param now the shared clock @param leastMs how long a path must be there */
export function createTimeline(
  names: readonly string[],
  now: () => number,
  leastMs: number = healthyForMs,
): Timeline {
  const intervals: Interval[] = [];
  const begin = (what: Pick<Interval, "path" | "refusals">): (() => void) => {
    const interval: Interval = { from: now(), to: Infinity, ...what };
    intervals.push(interval);
    return () => {
      interval.to = now();
    };
  };
  /** The longest piece of [from, to] in which the path was healthy. */
  const longestLight = (name: string, from: number, to: number): number => {
    let longest = 0;
    let lightSince = from;
    const darkOnes = intervals.filter(({ path }) => path === name);
    for (const dark of darkOnes.toSorted((a, b) => a.from - b.from)) {
      longest = Math.max(longest, Math.min(dark.from, to) - lightSince);
      lightSince = Math.max(lightSince, dark.to);
    }
    return Math.max(longest, to - lightSince);
  };
  return {
    dark: (broken) => {
      const ends = broken.map((path) => begin({ path }));
      return () => {
        for (const end of ends) end();
      };
    },
    refusing: (refusals) => begin({ refusals }),
    isRefused: ({ startedAt, endedAt, code }) =>
      intervals.some(
        ({ from, to, refusals }) =>
          code !== undefined && refusals?.includes(code) === true && from < endedAt && startedAt < to,
      ),
    // A machine that lets the callers wait lets the plugin and the KMS wait, too.
    hadPath: ({ startedAt, deadlineAt, stalledMs }) =>
      names.some((name) => longestLight(name, startedAt, deadlineAt) >= leastMs + 2 * stalledMs),
  };
}

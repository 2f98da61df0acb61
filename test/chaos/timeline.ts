/**
 * When there was a way to the KMS and when there was none, and from it whether a call had to succeed: one that
 * failed although, between its start and its deadline, a healthy path existed for {@link healthyForMs} in one
 * piece, or that failed in a way that nothing on the timeline explains, is a fault of the plugin.
 */
import type { FailedCall } from "./messages.ts";

/**
 * A path must have been there for so long to count: time to see that what hangs hangs, to dial anew (five round
 * trips of 20 ms), and to ask once more.
 */
export const healthyForMs = 1000;

interface Interval {
  readonly from: number;
  to: number;
  /** gRPC codes by which calls may fail meanwhile, because the KMS itself said no. None: no path is healthy. */
  readonly refusals?: readonly number[];
}

/** See above. Times of the shared clock. */
export interface Timeline {
  /** From now on no path is healthy. Returns what ends that. */
  dark(): () => void;
  /** From now on the KMS refuses, so that calls may fail by these codes. Returns what ends that. */
  refusing(codes: readonly number[]): () => void;
  /** Whether the KMS itself refused it. */
  isRefused(call: FailedCall): boolean;
  /** Whether a healthy path was there for long enough. To be asked after the call's deadline. */
  hadPath(call: FailedCall): boolean;
}

/** Makes one. @param now the shared clock */
export function createTimeline(now: () => number): Timeline {
  const intervals: Interval[] = [];
  const begin = (refusals?: readonly number[]): (() => void) => {
    const interval: Interval = { from: now(), to: Infinity, ...(refusals === undefined ? {} : { refusals }) };
    intervals.push(interval);
    return () => {
      interval.to = now();
    };
  };
  /** The longest piece of [from, to] in which some path was healthy. */
  const longestLight = (from: number, to: number): number => {
    let longest = 0;
    let lightSince = from;
    const darkOnes = intervals.filter(({ refusals }) => refusals === undefined);
    for (const dark of darkOnes.toSorted((a, b) => a.from - b.from)) {
      longest = Math.max(longest, Math.min(dark.from, to) - lightSince);
      lightSince = Math.max(lightSince, dark.to);
    }
    return Math.max(longest, to - lightSince);
  };
  return {
    dark: () => begin(),
    refusing: (codes) => begin(codes),
    isRefused: ({ startedAt, endedAt, code }) =>
      intervals.some(
        ({ from, to, refusals }) =>
          code !== undefined && refusals?.includes(code) === true && from < endedAt && startedAt < to,
      ),
    hadPath: ({ startedAt, deadlineAt }) => longestLight(startedAt, deadlineAt) >= healthyForMs,
  };
}

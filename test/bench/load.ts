/**
 * Drives a function with a number of callers for a while and says how it went: throughput and percentiles.
 */

/** The outcome of one load. Times in milliseconds. */
export interface LoadResult {
  readonly calls: number;
  readonly failures: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
}

/** The value below which `share` of the sorted values lie. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** The medians of several loads of the same, and all their failures. */
export function medianOf(results: readonly LoadResult[]): LoadResult {
  const median = (figure: keyof LoadResult): number =>
    percentile(
      results.map((result) => result[figure]).toSorted((a, b) => a - b),
      0.5,
    );
  return {
    calls: median("calls"),
    failures: results.reduce((sum, { failures }) => sum + failures, 0),
    perSecond: median("perSecond"),
    p50: median("p50"),
    p99: median("p99"),
  };
}

/** Runs `call` without pause in `callers` loops for `durationMs`, after `warmUpMs` that are not counted. */
export async function load(
  callers: number,
  call: () => Promise<unknown>,
  { durationMs = 3000, warmUpMs = 1000 } = {},
): Promise<LoadResult> {
  const times: number[] = [];
  let failures = 0;
  const start = performance.now() + warmUpMs;
  const end = start + durationMs;
  const loop = async (): Promise<void> => {
    for (let began = performance.now(); began < end; began = performance.now()) {
      try {
        await call();
        if (began >= start) times.push(performance.now() - began);
      } catch {
        failures += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: callers }, loop));
  const sorted = times.toSorted((a, b) => a - b);
  return {
    calls: sorted.length,
    failures,
    perSecond: (sorted.length / durationMs) * 1000,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
  };
}

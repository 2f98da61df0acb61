/**
 * For how long this process itself did not run: a timer of 5 ms, and by how much it was late. What a caller sees
 * too late because its own event loop stood still is not the plugin's doing, and is told apart by this.
 */
import { clockMs } from "./messages.ts";

const tickMs = 5;
const keptMs = 30_000;

interface Stall {
  readonly from: number;
  readonly to: number;
}

/** See above. */
export interface OwnDelay {
  /** For how long, of the time from `from` to `to`, this process did not run, in ms. */
  within(from: number, to: number): number;
  stop(): void;
}

/** Starts to watch. */
export function watchOwnDelay(): OwnDelay {
  const stalls: Stall[] = [];
  let last = clockMs();
  const timer = setInterval(() => {
    const now = clockMs();
    if (now - last > 2 * tickMs) stalls.push({ from: last + tickMs, to: now });
    while (stalls[0] !== undefined && stalls[0].to < now - keptMs) stalls.shift();
    last = now;
  }, tickMs);
  return {
    within: (from, to) =>
      stalls.reduce(
        (sum, stall) => sum + Math.max(0, Math.min(stall.to, to) - Math.max(stall.from, from)),
        0,
      ),
    stop: () => clearInterval(timer),
  };
}

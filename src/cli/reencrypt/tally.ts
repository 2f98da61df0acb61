/** What became of the objects of a resource, in numbers. */
import type { Touched } from "../../kubernetes/objects.ts";

/** Objects by what became of them. */
export type Tally = Record<Touched | "failed", number>;

/** All zero. */
export function emptyTally(): Tally {
  return { rewritten: 0, current: 0, changed: 0, gone: 0, failed: 0 };
}

/** How many there are in all. */
export function sumOf(tally: Tally): number {
  return Object.values(tally).reduce((sum, count) => sum + count, 0);
}

/** The sum of two, kind by kind. */
export function addTallies(a: Tally, b: Tally): Tally {
  const sum = { ...a };
  for (const kind of Object.keys(b) as (keyof Tally)[]) sum[kind] += b[kind];
  return sum;
}

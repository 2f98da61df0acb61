/** The lines of a run: what was seen, how long it took, and whether it was right. */
import { setTimeout as sleep } from "node:timers/promises";

/** A run's steps. */
export interface Steps {
  readonly passed: number;
  readonly failed: number;
  /** A step that is right where `isTrue` is, within the time. */
  until(what: string, withinSeconds: number, isTrue: () => Promise<boolean> | boolean): Promise<void>;
  /** A step that is known to be right or not. */
  check(what: string, isRight: boolean, otherwise?: string): void;
  /** A failure outside any step. */
  fail(why: string): void;
}

/** Begins a run. */
export function createSteps(): Steps {
  let [passed, failed] = [0, 0];
  const report = (what: string, isRight: boolean): void => {
    if (isRight) passed += 1;
    else failed += 1;
    console.log(`${isRight ? "✔" : "✖"} ${what}`);
  };
  return {
    get passed() {
      return passed;
    },
    get failed() {
      return failed;
    },
    async until(what, withinSeconds, isTrue) {
      const began = performance.now();
      const seconds = (): number => (performance.now() - began) / 1000;
      let isRight = await isTrue();
      while (!isRight && seconds() < withinSeconds) {
        await sleep(100);
        isRight = await isTrue();
      }
      report(`${what} (${seconds().toFixed(1)} s)`, isRight);
    },
    check(what, isRight, otherwise = "") {
      report(isRight || otherwise === "" ? what : `${what}: ${otherwise}`, isRight);
    },
    fail(why) {
      report(why, false);
    },
  };
}

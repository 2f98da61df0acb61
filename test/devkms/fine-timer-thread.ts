/** The thread of fine-timer.ts: sleeps until the next timer is due and says so, once for each that it was told of. */
import { parentPort, workerData } from "node:worker_threads";

const { turn, due } = workerData as { readonly turn: Int32Array; readonly due: BigInt64Array };

for (let rung: number | undefined; ;) {
  const told = Atomics.load(turn, 0);
  const leftMs = told === rung ? Infinity : Number(Atomics.load(due, 0) - process.hrtime.bigint()) / 1e6;
  // Ends early where another turn begins.
  if (leftMs > 0) Atomics.wait(turn, 0, told, leftMs);
  else {
    rung = told;
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is a window's; a thread has none
    parentPort?.postMessage(undefined);
  }
}

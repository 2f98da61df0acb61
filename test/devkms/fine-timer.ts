/**
 * Timers of a tenth of a millisecond, where Node's own go by whole ones: a thread of their own sleeps until the next
 * is due, and says so. For delays that are to be a network's, not a timer's: each of Node's is up to 1 ms late.
 */
import { Worker } from "node:worker_threads";

/** A timer under way. */
export interface FineTimer {
  /** What has not rung will not. */
  cancel(): void;
}

interface Alarm {
  /** By `process.hrtime.bigint()`, which threads have in common. */
  readonly due: bigint;
  readonly ring: () => void;
}

/** In the order of their times. */
const alarms: Alarm[] = [];
/** What the thread sleeps on; `due` counts from the moment that `turn` has changed. */
const shared = {
  turn: new Int32Array(new SharedArrayBuffer(4)),
  due: new BigInt64Array(new SharedArrayBuffer(8)),
};
let thread: Worker | undefined;

function wakeAtFirst(): void {
  const [first] = alarms;
  if (first === undefined) return;
  if (thread === undefined) {
    thread = new Worker(new URL("fine-timer-thread.ts", import.meta.url), { workerData: shared });
    thread.on("message", ringDue);
    thread.unref();
  }
  Atomics.store(shared.due, 0, first.due);
  Atomics.add(shared.turn, 0, 1);
  Atomics.notify(shared.turn, 0);
}

function ringDue(): void {
  for (
    let first = alarms[0];
    first !== undefined && first.due <= process.hrtime.bigint();
    first = alarms[0]
  ) {
    alarms.shift();
    first.ring();
  }
  wakeAtFirst();
}

/** Calls `ring` once, in `ms` or as little later as the machine allows, never earlier. Keeps no process alive. */
export function setFineTimer(ring: () => void, ms: number): FineTimer {
  const alarm: Alarm = { due: process.hrtime.bigint() + BigInt(Math.ceil(ms * 1e6)), ring };
  const before = alarms.findLastIndex(({ due }) => due <= alarm.due);
  alarms.splice(before + 1, 0, alarm);
  if (before === -1) wakeAtFirst();
  return {
    cancel() {
      const index = alarms.indexOf(alarm);
      if (index !== -1) alarms.splice(index, 1);
    },
  };
}

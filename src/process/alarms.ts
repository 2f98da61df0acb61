/**
 * Timers that nearly always are cancelled, as the deadlines of calls: all share one of Node's, so that to set one and to
 * cancel it costs next to nothing. Late by a millisecond or two, as Node's own are.
 */

/** A function that will be called. */
export interface Alarm {
  /** It will not be called any more. Idempotent. */
  cancel(): void;
}

class OneAlarm implements Alarm {
  readonly at: number;
  readonly run: () => void;

  constructor(at: number, run: () => void) {
    this.at = at;
    this.run = run;
  }

  cancel(): void {
    if (alarms.delete(this)) releaseIdle();
  }
}

/** Node's longest time. */
const maxTimerMs = 2 ** 31 - 1;

const alarms = new Set<OneAlarm>();
let timer: NodeJS.Timeout | undefined;
/** When the timer fires, in ms of `performance.now()`. */
let timerAt = Infinity;

/** Calls `run` in `ms`, unless it is cancelled. Keeps the process alive until then. Any number is allowed: Infinity is never. */
export function setAlarm(ms: number, run: () => void): Alarm {
  const alarm = new OneAlarm(performance.now() + ms, run);
  if (ms === Infinity) return alarm;
  alarms.add(alarm);
  if (alarm.at < timerAt) restart(alarm.at);
  else if (alarms.size === 1) timer?.ref();
  return alarm;
}

function restart(at: number): void {
  clearTimeout(timer);
  timerAt = at;
  timer = setTimeout(readFirst, Math.min(Math.max(at - performance.now(), 0), maxTimerMs));
}

/** Where this process was stalled, replies that have come meanwhile are read before anybody is taken for silent. */
function readFirst(): void {
  timer = undefined;
  timerAt = Infinity;
  setImmediate(ring);
}

function ring(): void {
  // Node may be early by a part of a millisecond.
  const now = performance.now() + 1;
  try {
    for (const alarm of [...alarms].filter(({ at }) => at <= now)) if (alarms.delete(alarm)) alarm.run();
  } finally {
    // Also where one of them has thrown.
    let next = Infinity;
    for (const { at } of alarms) next = Math.min(next, at);
    if (next < timerAt) restart(next);
    releaseIdle();
  }
}

/** A timer that nobody waits for does not keep the process alive. */
function releaseIdle(): void {
  if (alarms.size === 0) timer?.unref();
}

/**
 * When the next probe runs: each interval while well, with a back-off from 1 s while not, jittered by a tenth
 * so that the nodes of a control plane do not probe in step. One probe at a time.
 */

/** The first back-off, and the least time between the starts of two probes, in ms. */
const leastGapMs = 1000;
/** The longest back-off, in ms: a KMS that is well again is to be seen within 5 s. */
const maxBackoffMs = 3000;
const backoffFactor = 1.6;
const jitterPart = 0.1;

/** How a {@link ProbeTimer} is made. */
export interface ProbeTimerOptions {
  /** Time between the starts of two probes when well, in ms. */
  readonly intervalMs: number;
  /** Runs a probe; resolves to whether it was good. Must not reject. */
  readonly run: () => Promise<boolean>;
}

/** Runs probes, one at a time. */
export interface ProbeTimer {
  /** Runs the first probe now. */
  start(): void;
  /** Runs the next as soon as the least gap allows; another one where one is running. */
  soon(): void;
  /** No more probes; resolves when none is running. */
  stop(): Promise<void>;
}

/** Makes a timer that has not started. Its timers do not keep the process alive. */
export function createProbeTimer(options: ProbeTimerOptions): ProbeTimer {
  const gapMs = Math.min(leastGapMs, options.intervalMs);
  const maxDelayMs = Math.min(maxBackoffMs, options.intervalMs);
  let isActive = false;
  let timer: NodeJS.Timeout | undefined;
  let dueAt = Infinity;
  let running: Promise<void> | undefined;
  let runAgain = false;
  let startedAt = -Infinity;
  let failures = 0;

  function schedule(at: number): void {
    if (!isActive) return;
    clearTimeout(timer);
    dueAt = at;
    timer = setTimeout(begin, Math.max(0, at - performance.now())).unref();
  }

  function begin(): void {
    dueAt = Infinity;
    startedAt = performance.now();
    runAgain = false;
    running = once();
  }

  async function once(): Promise<void> {
    const isGood = await options.run();
    failures = isGood ? 0 : failures + 1;
    running = undefined;
    schedule(startedAt + (runAgain ? gapMs : nextDelayMs()));
  }

  function nextDelayMs(): number {
    const plain =
      failures === 0 ? options.intervalMs : Math.min(gapMs * backoffFactor ** (failures - 1), maxDelayMs);
    return plain * (1 - jitterPart + 2 * jitterPart * Math.random());
  }

  return {
    start() {
      if (isActive) return;
      isActive = true;
      begin();
    },
    soon() {
      runAgain = true;
      if (running === undefined) schedule(Math.min(dueAt, startedAt + gapMs));
    },
    async stop() {
      isActive = false;
      clearTimeout(timer);
      await running;
    },
  };
}

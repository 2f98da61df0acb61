/**
 * When the next probe runs: each interval while probes are good, with a back-off from 1 s while they fail, jittered by
 * a tenth so that the nodes of a control plane do not probe in step. One probe at a time.
 */

/** The first back-off, and the least time between the starts of two probes, in ms. */
const leastGapMs = 1000;
/** The longest back-off, in ms: a recovery of the KMS is to be noticed within 5 s. */
const maxBackoffMs = 3000;
const backoffFactor = 1.6;
const jitterPart = 0.1;

/** How a {@link ProbeTimer} is made. */
export interface ProbeTimerOptions {
  /** Time between the starts of two probes while they are good, in ms. */
  readonly intervalMs: number;
  /** Runs a probe; resolves to whether it was good. Must not reject. */
  readonly run: () => Promise<boolean>;
}

type Phase =
  | { readonly name: "stopped" }
  | { readonly name: "waiting"; readonly dueAt: number; readonly timeout: NodeJS.Timeout }
  | { readonly name: "running"; readonly ended: Promise<void>; readonly isWantedAgain: boolean };

/** Runs probes, one at a time. Its timeouts do not keep the process alive. */
export class ProbeTimer {
  readonly #options: ProbeTimerOptions;
  readonly #gapMs: number;
  #phase: Phase = { name: "stopped" };
  #startedAt = 0;
  #failures = 0;

  constructor(options: ProbeTimerOptions) {
    this.#options = options;
    this.#gapMs = Math.min(leastGapMs, options.intervalMs);
  }

  /** Runs the first probe now. */
  start(): void {
    if (this.#phase.name === "stopped") this.#begin();
  }

  /** Runs the next as soon as the least gap allows; another one where one is running. */
  soon(): void {
    const phase = this.#phase;
    if (phase.name === "running") this.#phase = { ...phase, isWantedAgain: true };
    if (phase.name === "waiting") this.#wait(Math.min(phase.dueAt, this.#startedAt + this.#gapMs));
  }

  /** No more probes; resolves when none is running. */
  async stop(): Promise<void> {
    const phase = this.#phase;
    this.#phase = { name: "stopped" };
    if (phase.name === "waiting") clearTimeout(phase.timeout);
    if (phase.name === "running") await phase.ended;
  }

  #begin(): void {
    this.#startedAt = performance.now();
    this.#phase = { name: "running", ended: this.#run(), isWantedAgain: false };
  }

  async #run(): Promise<void> {
    const isGood = await this.#options.run();
    this.#failures = isGood ? 0 : this.#failures + 1;
    const phase = this.#phase;
    if (phase.name !== "running") return;
    this.#wait(this.#startedAt + (phase.isWantedAgain ? this.#gapMs : this.#nextDelayMs()));
  }

  #wait(dueAt: number): void {
    if (this.#phase.name === "waiting") clearTimeout(this.#phase.timeout);
    const timeout = setTimeout(() => this.#begin(), Math.max(0, dueAt - performance.now())).unref();
    this.#phase = { name: "waiting", dueAt, timeout };
  }

  #nextDelayMs(): number {
    const { intervalMs } = this.#options;
    const backoffMs = this.#gapMs * backoffFactor ** (this.#failures - 1);
    const plainMs = this.#failures === 0 ? intervalMs : Math.min(backoffMs, maxBackoffMs, intervalMs);
    return plainMs * (1 - jitterPart + 2 * jitterPart * Math.random());
  }
}

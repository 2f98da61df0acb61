/** A limit on requests per second, and waiting that a signal ends. */
import { setTimeout as sleep } from "node:timers/promises";

/** Hands out turns at an even rate. */
export class Pace {
  readonly #gapMs: number;
  #next = 0;

  /** @param perSecond turns a second */
  constructor(perSecond: number) {
    this.#gapMs = 1000 / perSecond;
  }

  /** Waits for a turn. @throws the signal's reason once it is aborted */
  async turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const now = performance.now();
    // Timers are late by up to a few ms: what was missed so is caught up, and no more than that.
    this.#next = Math.max(this.#next + this.#gapMs, now - 100);
    if (this.#next > now) await pause(this.#next - now, signal);
  }
}

/** Waits. @throws the signal's reason once it is aborted */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}

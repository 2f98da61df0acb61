/**
 * What bounds a call. The caller's signal is the budget; its deadline says whether a pause is worth beginning.
 */

/** The bounds of a call; encryptors/encryptor.ts has the same shape. */
export interface CallBudget {
  /** Aborts when the caller leaves or its time is over. */
  readonly signal: AbortSignal;
  /** When its time is over, in ms of `performance.now()`. */
  readonly deadline: number;
  /** For the log. */
  readonly uid?: string;
}

/** The time that is left, in ms; Infinity where nothing bounds the call. */
export function remainingMs(budget: CallBudget): number {
  return budget.deadline - performance.now();
}

/** Resolves after `ms`, or at once when the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const stop = (): void => resolve();
  signal.addEventListener("abort", stop, { once: true });
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", stop);
}

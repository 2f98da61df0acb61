/**
 * What bounds a call, and why it ended early. The caller's signal is the budget; its deadline says whether a
 * pause is worth beginning.
 */
import { ProviderError, TimeoutError } from "../errors.ts";

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

/**
 * The error for a caller whose signal was aborted: its own reason, TIMEOUT, or CANCELED.
 * @param waitingFor completes "the time was over while …"
 * @param cause what stood in the way, where known: its message is appended
 */
export function abortedError(
  budget: CallBudget,
  phase: TimeoutError["phase"],
  waitingFor: string,
  cause?: ProviderError,
): ProviderError {
  const reason: unknown = budget.signal.reason;
  if (reason instanceof ProviderError && reason.code !== "TIMEOUT") return reason;
  const isTimeout =
    reason instanceof ProviderError || (reason instanceof DOMException && reason.name === "TimeoutError");
  if (!isTimeout) return new ProviderError("CANCELED", "the caller left", { cause: reason });
  const why = cause === undefined ? "" : `: ${cause.message}`;
  return new TimeoutError(phase, `the time was over while ${waitingFor}${why}`, { cause: cause ?? reason });
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

/**
 * Why a wait ended early, told from an AbortSignal: the caller's time was over, the caller left, or the caller
 * aborted with a reason of its own.
 */
import { ProviderError, TimeoutError } from "../errors.ts";

/**
 * The error to give to a caller whose signal was aborted.
 * @param waitingFor completes "the time was over while …".
 * @param cause what stood in the way, where that is known: its message is appended.
 */
export function abortError(
  signal: AbortSignal,
  phase: TimeoutError["phase"],
  waitingFor: string,
  cause?: ProviderError,
): ProviderError {
  const reason: unknown = signal.reason;
  if (reason instanceof ProviderError && reason.code !== "TIMEOUT") return reason;
  const isTimeout =
    reason instanceof ProviderError || (reason instanceof DOMException && reason.name === "TimeoutError");
  if (!isTimeout) return new ProviderError("CANCELED", "the caller left", { cause: reason });
  const why = cause === undefined ? "" : `: ${cause.message}`;
  return new TimeoutError(phase, `the time was over while ${waitingFor}${why}`, { cause: cause ?? reason });
}

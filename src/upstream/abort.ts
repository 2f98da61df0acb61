/**
 * Why a call ended early, told from its AbortSignal: the caller's time was over, the caller left, or it aborted with
 * a reason of its own. A failure that filled the time says more than that the time is over: then that is told.
 */
import { ProviderError, TimeoutError } from "../errors.ts";

/**
 * The error to give to a caller whose signal was aborted.
 * @param waitingFor completes "the time was over while …".
 * @param failure what stood in the way until now, where that is known: given back in place of a TIMEOUT.
 */
export function abortError(
  signal: AbortSignal,
  phase: TimeoutError["phase"],
  waitingFor: string,
  failure?: ProviderError,
): ProviderError {
  const reason: unknown = signal.reason;
  if (reason instanceof ProviderError && reason.code !== "TIMEOUT") return reason;
  const isTimeout =
    reason instanceof ProviderError || (reason instanceof DOMException && reason.name === "TimeoutError");
  if (!isTimeout) return new ProviderError("CANCELED", "the caller left", { cause: reason });
  if (failure === undefined)
    return new TimeoutError(phase, `the time was over while ${waitingFor}`, { cause: reason });
  if (failure.code !== "TIMEOUT") return failure;
  return new TimeoutError(phase, `the time was over while ${waitingFor}: ${failure.message}`, {
    cause: failure,
  });
}

/** What the tries of one call have met so far. */
export interface Setbacks {
  /** A try failed, and another follows. */
  add(failure: ProviderError): void;
  /** What to tell the caller in place of `end`, with which the call ended. */
  insteadOf(end: ProviderError): ProviderError;
}

/**
 * Makes an empty record, at the beginning of a call. A TIMEOUT stands where the server was silent for longer than it
 * had failed before; else the last failure is what the caller's time was spent on.
 */
export function createSetbacks(): Setbacks {
  const startedAt = performance.now();
  let lastAt = startedAt;
  let last: ProviderError | undefined;
  return {
    add: (failure) => {
      last = failure;
      lastAt = performance.now();
    },
    insteadOf: (end) => {
      if (end.code !== "TIMEOUT" || last === undefined) return end;
      const isSilent = performance.now() - lastAt > lastAt - startedAt;
      return isSilent ? end : last;
    },
  };
}

/** A signal that follows `parent` and times out after `ms`; AbortSignal.any would keep listeners on the parent. */
export function linkedSignal(parent: AbortSignal, ms: number): { signal: AbortSignal; end: () => void } {
  const controller = new AbortController();
  const follow = (): void => controller.abort(parent.reason);
  const timer = setTimeout(() => controller.abort(new DOMException("timed out", "TimeoutError")), ms);
  parent.addEventListener("abort", follow, { once: true });
  if (parent.aborted) follow();
  return {
    signal: controller.signal,
    end: () => {
      clearTimeout(timer);
      parent.removeEventListener("abort", follow);
    },
  };
}

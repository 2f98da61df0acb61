/**
 * What bounds a call, and why it ended early: its time was over, the caller left, or it was aborted with a reason of its
 * own. A failure that filled the time says more than that the time is over: then that failure is reported.
 */
import { ProviderError, TimeoutError } from "../errors.ts";

/** What bounds a call. */
export interface CallContext {
  /** Aborts when the caller leaves or its time is over. Everything below stops on it. */
  readonly signal: AbortSignal;
  /** When the caller's time is over, in ms of `performance.now()`; read anew at each use. Default: never. */
  readonly deadline?: number;
  /** The API server's uid of the call, for the log. */
  readonly uid?: string;
  /** The server to ask first, by its name; another where that fails. Default: the active one. */
  readonly server?: string | undefined;
  /** Told which server has replied, at each reply, refusals included: the last one is whose word ended the call. */
  readonly onServer?: (name: string) => void;
  /** Given what tells a caller whose time is over why there is no reply yet: for those who share a call, and leave before it ends. */
  readonly onBegun?: (whyLate: WhyLate) => void;
}

/** The failure for a caller whose signal was aborted, as the call itself would end with it now. */
export type WhyLate = (signal: AbortSignal) => ProviderError;

/** The time that is left, in ms; Infinity where nothing bounds the call. */
export function remainingMs({ deadline = Infinity }: CallContext): number {
  return deadline - performance.now();
}

/** Whether the caller's time is over. */
export function isTimeUp({ reason }: AbortSignal): boolean {
  return reason instanceof ProviderError
    ? reason.code === "TIMEOUT"
    : reason instanceof DOMException && reason.name === "TimeoutError";
}

/**
 * The error for a caller whose signal was aborted.
 * @param waitingFor completes "the time was over while …".
 * @param failure what stood in the way until now, where that is known: returned in place of a TIMEOUT.
 */
export function abortError(
  signal: AbortSignal,
  phase: TimeoutError["phase"],
  waitingFor: string,
  failure?: ProviderError,
): ProviderError {
  const reason: unknown = signal.reason;
  if (reason instanceof ProviderError && reason.code !== "TIMEOUT") return reason;
  if (!isTimeUp(signal)) return new ProviderError("CANCELED", "the caller left", { cause: reason });
  if (failure === undefined)
    return new TimeoutError(phase, `the time was over while ${waitingFor}`, { cause: reason });
  if (failure.code !== "TIMEOUT") return failure;
  return new TimeoutError(phase, `the time was over while ${waitingFor}: ${failure.message}`, {
    cause: failure,
  });
}

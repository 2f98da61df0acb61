/**
 * The budget of a call: the caller's own deadline or --timeout, whichever ends first (docs/design.md, 5). Reads grpc-timeout and connect-timeout-ms itself, because Connect's own timer overflows at
 * 25 days and then fires at once.
 */
import { ProviderError, TimeoutError } from "../../errors.ts";
import { setAlarm } from "../../process/alarms.ts";

const unitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** What bounds one call. */
export interface Budget {
  /** Aborts with a ProviderError: TIMEOUT when the time is over, CANCELED or what `cancel` is given. */
  readonly signal: AbortSignal;
  /** When the time is over, in ms of `performance.now()`; Infinity where nothing bounds it. */
  readonly deadline: number;
  /** Aborts now: the caller left, or the program ends. */
  cancel(reason?: ProviderError): void;
  /** Stops the timer; nothing aborts the signal afterwards. To be called when the call is answered. */
  end(): void;
}

/**
 * The time that a caller gives, in ms, by its `grpc-timeout` (gRPC over HTTP/2, "Requests") or
 * `connect-timeout-ms` header; undefined where there is none, or none that is well-formed.
 */
export function callerTimeoutMs(headers: Readonly<Record<string, unknown>>): number | undefined {
  const grpc = headers["grpc-timeout"];
  if (typeof grpc === "string") {
    const match = /^(\d{1,8})([HMSmun])$/.exec(grpc);
    return match === null ? undefined : Number(match[1]) * (unitMs[match[2] ?? ""] ?? 0);
  }
  const connect = headers["connect-timeout-ms"];
  if (typeof connect === "string" && /^\d{1,10}$/.test(connect)) return Number(connect);
  return undefined;
}

/**
 * How long an answer may take to reach the caller in time: the caller's time began before its headers arrived, and an
 * answer that comes as it ends is discarded, with its reason. A fiftieth is reserved, 50 ms at most.
 */
export function answerTimeMs(callerMs: number | undefined): number | undefined {
  return callerMs === undefined ? undefined : callerMs - Math.min(callerMs / 50, 50);
}

/** Starts a budget of the least of `limitsMs`, undefined meaning no limit. */
export function startBudget(...limitsMs: readonly (number | undefined)[]): Budget {
  let limitMs = Infinity;
  for (const limit of limitsMs) if (limit !== undefined && limit < limitMs) limitMs = limit;
  const controller = new AbortController();
  const alarm = setAlarm(limitMs, () => {
    controller.abort(new TimeoutError("response", "the call's time was over before it was answered"));
  });
  let hasEnded = false;
  return {
    signal: controller.signal,
    deadline: performance.now() + limitMs,
    cancel(reason) {
      alarm.cancel();
      if (hasEnded || controller.signal.aborted) return;
      controller.abort(reason ?? new ProviderError("CANCELED", "the caller left before it was answered"));
    },
    end() {
      hasEnded = true;
      alarm.cancel();
    },
  };
}

/**
 * Settles as `work` does, or rejects with the signal's reason once it aborts, even where `work` ignores the
 * signal. On abort `work` has the rest of the turn to reject with an error of its own, which is more specific.
 */
export function settleWithin<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      setImmediate(() => reject(signal.reason));
    };
    const stopListening = (): void => signal.removeEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(stopListening, stopListening);
    work.then(resolve, reject);
  });
}

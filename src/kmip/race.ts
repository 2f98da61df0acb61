/**
 * A race between servers, after Happy Eyeballs (RFC 8305): the first in line has a head start, the next joins as
 * soon as it has failed or is late, and whoever is ready first wins. Knows nothing of connections.
 */
import { type ProviderError, toProviderError } from "../errors.ts";
import type { Endpoint } from "./endpoint.ts";

/** One attempt at one server; called off by the signal when another was ready first. */
export type Attempt<T> = (endpoint: Endpoint, calledOff: AbortSignal) => Promise<T>;

/** How a race is run. */
export interface RaceOptions<T> {
  /** Head start of a server over the next one, in ms. */
  readonly headStartMs: (endpoint: Endpoint) => number;
  /** After how long attempts that all hang are joined by one more, in ms; again and again. */
  readonly repeatMs: number;
  /** Whether one more may join those that hang. */
  readonly mayRepeat: () => boolean;
  /** Given what was ready only when the race was over. */
  readonly discard: (late: T) => void;
  /** Whether a server that failed so fails again in a moment: then those of its attempts that hang are not waited for. */
  readonly isFinal: (failure: ProviderError) => boolean;
  /** One error for a race that nobody won, from the last failure at each server. */
  readonly summary: (failures: readonly ProviderError[]) => ProviderError;
}

/**
 * Starts attempts in order, each as soon as the one before has failed or has had its time alone, and further rounds
 * of them while the first hang: what a server has swallowed it does not answer when it comes to itself. The first
 * that is ready wins; the others are called off.
 * @throws the reason of `signal`, or the summary once every server was tried and no attempt is left, or every server
 *   has failed for good.
 */
export function firstReady<T>(
  order: readonly Endpoint[],
  attempt: Attempt<T>,
  { headStartMs, repeatMs, mayRepeat, discard, isFinal, summary }: RaceOptions<T>,
  signal: AbortSignal,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const callOff = new AbortController();
  const failures = new Map<Endpoint, ProviderError>();
  let started = 0;
  let running = 0;
  let timer: NodeJS.Timeout | undefined;

  const end = (): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    callOff.abort();
  };
  const onAbort = (): void => {
    end();
    reject(signal.reason);
  };
  const onReady = (ready: T): void => {
    if (callOff.signal.aborted) return discard(ready);
    end();
    return resolve(ready);
  };
  const onFailure = (endpoint: Endpoint, error: unknown): void => {
    running -= 1;
    if (callOff.signal.aborted) return;
    failures.set(endpoint, toProviderError(error));
    if (started < order.length) start();
    else if (running === 0 || order.every(hasRefused)) {
      end();
      reject(summary([...failures.values()]));
    }
  };
  const hasRefused = (endpoint: Endpoint): boolean => {
    const failure = failures.get(endpoint);
    return failure !== undefined && isFinal(failure);
  };
  const start = (): void => {
    clearTimeout(timer);
    const endpoint = order[started % order.length];
    if (endpoint === undefined) return;
    started += 1;
    running += 1;
    timer = setTimeout(next, started < order.length ? headStartMs(endpoint) : repeatMs);
    attempt(endpoint, callOff.signal).then(onReady, (error: unknown) => onFailure(endpoint, error));
  };
  const next = (): void => {
    if (started < order.length || mayRepeat()) start();
    else timer = setTimeout(next, repeatMs);
  };

  if (signal.aborted) onAbort();
  else {
    signal.addEventListener("abort", onAbort, { once: true });
    start();
  }
  return promise;
}

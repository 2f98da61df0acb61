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
  /** Head start over the next server, in ms. */
  readonly staggerMs: number;
  /** After how long attempts that hang are joined by second ones at the same servers, in ms. */
  readonly repeatMs: number;
  /** Given what was ready only when the race was over. */
  readonly discard: (late: T) => void;
  /** One error for a race that nobody won. */
  readonly summary: (failures: readonly ProviderError[]) => ProviderError;
}

/**
 * Starts attempts in order, each as soon as the one before has failed or has had its time alone, and a second
 * round of them where the first hangs. The first that is ready wins; the others are called off.
 * @throws the reason of `signal`, or the summary.
 */
export function firstReady<T>(
  order: readonly Endpoint[],
  attempt: Attempt<T>,
  { staggerMs, repeatMs, discard, summary }: RaceOptions<T>,
  signal: AbortSignal,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const callOff = new AbortController();
  const queue = [...order, ...order];
  const failures: ProviderError[] = [];
  let running = 0;
  let timer: NodeJS.Timeout | undefined;

  const end = (): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    queue.length = 0;
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
  const onFailure = (error: unknown): void => {
    running -= 1;
    if (callOff.signal.aborted) return;
    failures.push(toProviderError(error));
    const hasUntried = queue.length > order.length;
    if (hasUntried) next();
    else if (running === 0) {
      end();
      reject(summary(failures));
    }
  };
  const next = (): void => {
    clearTimeout(timer);
    const endpoint = queue.shift();
    if (endpoint === undefined) return;
    running += 1;
    attempt(endpoint, callOff.signal).then(onReady, onFailure);
    timer = setTimeout(next, queue.length > order.length ? staggerMs : repeatMs);
  };

  if (signal.aborted) onAbort();
  else {
    signal.addEventListener("abort", onAbort, { once: true });
    next();
  }
  return promise;
}

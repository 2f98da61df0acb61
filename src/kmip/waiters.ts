/**
 * Callers that wait for a thing of which there are too few: first come first served, each leaving on its own
 * signal without disturbing the others.
 */
import type { ProviderError } from "../errors.ts";

/** A queue of callers that wait for a `T`. */
export interface Waiters<T> {
  readonly size: number;
  /** Waits for a turn; rejects with what `whyLeft` says once `signal` aborts. */
  wait(signal: AbortSignal, whyLeft: () => ProviderError): Promise<T>;
  /** Takes the first in the queue out of it, to be given its `T`; undefined where nobody waits. */
  next(): ((value: T) => void) | undefined;
  /** Sends everybody away. */
  rejectAll(error: ProviderError): void;
}

interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: ProviderError) => void;
}

/** Makes an empty queue. */
export function createWaiters<T>(): Waiters<T> {
  const queue = new Set<Waiter<T>>();
  return {
    get size() {
      return queue.size;
    },
    wait: (signal, whyLeft) =>
      new Promise((resolve, reject) => {
        const onAbort = (): void => {
          queue.delete(waiter);
          reject(whyLeft());
        };
        const waiter: Waiter<T> = {
          resolve: (value) => {
            signal.removeEventListener("abort", onAbort);
            resolve(value);
          },
          reject: (error) => {
            signal.removeEventListener("abort", onAbort);
            reject(error);
          },
        };
        signal.addEventListener("abort", onAbort, { once: true });
        queue.add(waiter);
      }),
    next: () => {
      for (const waiter of queue) {
        queue.delete(waiter);
        return waiter.resolve;
      }
      return undefined;
    },
    rejectAll: (error) => {
      const all = [...queue];
      queue.clear();
      for (const waiter of all) waiter.reject(error);
    },
  };
}

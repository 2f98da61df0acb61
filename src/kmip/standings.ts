/**
 * What was last seen of each server, and what follows for the next dial: whom to try first, and how long alone. A
 * server that negotiates and then answers no request is as good as one that is away, and is known only here:
 * every dial finds it ready.
 */
import { createRelapses, type Relapses } from "../upstream/ejection.ts";
import type { Endpoint } from "./endpoint.ts";

/** What is known of the servers. Times in ms, moments of `performance.now()`. */
export interface Standings {
  /** A request was answered. @returns whether that ends a doubt. */
  answered(endpoint: Endpoint): boolean;
  /** When one last was; -Infinity: never. */
  answeredAt(endpoint: Endpoint): number;
  /**
   * A request on a connection that was opened then was lost, or its reply is overdue.
   * @returns whether the server is in doubt now and was not before.
   */
  doubt(endpoint: Endpoint, openedAt: number): boolean;
  /** A connection is ready, after a dial that began then. */
  ready(endpoint: Endpoint, startedAt: number): void;
  /** No connection could be had. */
  failed(endpoint: Endpoint): void;
  /** Whether a connection was ready after that moment, and no doubt has come up since. */
  isReadySince(endpoint: Endpoint, moment: number): boolean;
  /** The order in which to try servers, given as they are preferred: those in doubt last, the latest doubt at the end. */
  inOrder(preferred: readonly Endpoint[]): Endpoint[];
  /** Whether it has failed its callers too often to be returned to already. */
  isResting(endpoint: Endpoint): boolean;
  /** How long a dial of it is to have for itself: twice what the last one took, where that is more than usual. */
  headStartMs(endpoint: Endpoint): number;
  /** Nothing that is known of dials holds with another certificate. */
  forgetDials(): void;
}

/** A server that needs longer to be dialled is not returned to, and gets no longer head start: a caller has seconds. */
export const longestDialMs = 1000;

interface Standing {
  readonly relapses: Relapses;
  answeredAt: number;
  doubtedAt: number;
  readyAt: number;
  dialMs: number;
}

/**
 * Makes standings of which nothing is known.
 * @param staggerMs the usual head start.
 * @param recoverMs how often a preferred server is tried again.
 */
export function createStandings(staggerMs: number, recoverMs: number): Standings {
  const all = new Map<Endpoint, Standing>();
  const of = (endpoint: Endpoint): Standing => {
    const standing = all.get(endpoint) ?? {
      relapses: createRelapses(recoverMs),
      answeredAt: -Infinity,
      doubtedAt: -Infinity,
      readyAt: -Infinity,
      dialMs: 0,
    };
    all.set(endpoint, standing);
    return standing;
  };

  return {
    answered: (endpoint) => {
      const standing = of(endpoint);
      const wasInDoubt = standing.doubtedAt !== -Infinity;
      standing.answeredAt = performance.now();
      standing.doubtedAt = -Infinity;
      return wasInDoubt;
    },
    answeredAt: (endpoint) => of(endpoint).answeredAt,
    doubt: (endpoint, openedAt) => {
      const standing = of(endpoint);
      // What has answered since is slow, or has lost this connection only.
      if (standing.answeredAt > openedAt) return false;
      const isNew = standing.doubtedAt === -Infinity;
      if (isNew) standing.relapses.note();
      standing.doubtedAt = performance.now();
      standing.readyAt = -Infinity;
      return isNew;
    },
    ready: (endpoint, startedAt) => {
      const standing = of(endpoint);
      const now = performance.now();
      standing.dialMs = now - startedAt;
      // A dial that began before the doubt was already ready then, as far as anybody knows.
      if (standing.doubtedAt > startedAt) return;
      standing.doubtedAt = -Infinity;
      standing.readyAt = now;
    },
    failed: (endpoint) => {
      Object.assign(of(endpoint), { readyAt: -Infinity, dialMs: 0 });
    },
    isReadySince: (endpoint, moment) => of(endpoint).readyAt > moment,
    inOrder: (preferred) => preferred.toSorted((a, b) => compare(of(a).doubtedAt, of(b).doubtedAt)),
    isResting: (endpoint) => of(endpoint).relapses.isResting(),
    headStartMs: (endpoint) => Math.max(staggerMs, 2 * Math.min(of(endpoint).dialMs, longestDialMs)),
    forgetDials: () => {
      for (const standing of all.values()) Object.assign(standing, { readyAt: -Infinity, dialMs: 0 });
    },
  };
}

/** By number; a subtraction would make NaN of two infinities. */
function compare(a: number, b: number): number {
  return a === b ? 0 : a - b;
}

/**
 * Name look-ups, one at a time for each name. Node asks through threads, of which it has two for this: while DNS is
 * silent each dial would add a look-up to their queue, and the first good answer would be queued behind them all. An
 * answer is given only to those who wait for it; nothing is kept.
 */
import { lookup } from "node:dns";
import type { LookupFunction } from "node:net";

type Answer = Parameters<Parameters<LookupFunction>[2]>;

/**
 * Makes a look-up for the option of that name of `net.connect` and `tls.connect`.
 * @param ask the function that resolves. Default: Node's own, which resolves as the system does.
 */
export function createSharedLookup(ask: LookupFunction = lookup as LookupFunction): LookupFunction {
  const waiting = new Map<string, ((...answer: Answer) => void)[]>();
  return (hostname, options, done) => {
    const { family, hints, all, order } = options;
    const question = JSON.stringify([hostname, family, hints, all, order]);
    const others = waiting.get(question);
    if (others !== undefined) {
      others.push(done);
      return;
    }
    const everybody = [done];
    waiting.set(question, everybody);
    ask(hostname, options, (...answer) => {
      waiting.delete(question);
      for (const one of everybody) one(...answer);
    });
  };
}

/** The one of this process. */
export const sharedLookup: LookupFunction = createSharedLookup();

/**
 * The same look-up with the addresses of a name in turn, for `net.connect` begins with the first and goes on only
 * where it takes no TCP: one that takes it and then hangs would be tried for ever.
 * @param nth which of them comes first, counted from 0 and round again; those before it come last.
 * @param ask the function that resolves. Default: {@link sharedLookup}.
 */
export function lookupInTurn(nth: number, ask: LookupFunction = sharedLookup): LookupFunction {
  return (hostname, options, done) => {
    ask(hostname, options, (error, address, family) => {
      if (error !== null || !Array.isArray(address) || address.length === 0)
        return done(error, address, family);
      const first = nth % address.length;
      return done(null, [...address.slice(first), ...address.slice(0, first)], family);
    });
  };
}

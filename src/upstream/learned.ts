/**
 * What was learned about one server: which version it speaks, whether it resumes sessions, what it takes. One small record
 * for each endpoint; forgotten when the TLS files or the server are replaced, and after an hour.
 */

/** A value that can be learned. */
export type LearnedValue = string | number | boolean;

/** The record. */
export interface Learned {
  get(name: string): LearnedValue | undefined;
  /** @param forMs how long it holds, in ms. Default: an hour. */
  set(name: string, value: LearnedValue, forMs?: number): void;
  /** Forgets everything. */
  forget(): void;
}

const lifeMs = 3_600_000;

/**
 * Makes an empty record.
 * @param onChange told all that is known, as `version=1.4 sessions=false`, whenever that changes.
 */
export function createLearned(onChange: (known: string) => void): Learned {
  const values = new Map<string, { readonly value: LearnedValue; readonly until: number }>();
  const report = (): void => onChange([...values].map(([name, { value }]) => `${name}=${value}`).join(" "));
  return {
    get: (name) => {
      const known = values.get(name);
      if (known === undefined || known.until > performance.now()) return known?.value;
      values.delete(name);
      report();
      return undefined;
    },
    set: (name, value, forMs = lifeMs) => {
      const before = values.get(name)?.value;
      values.set(name, { value, until: performance.now() + forMs });
      if (before !== value) report();
    },
    forget: () => {
      if (values.size === 0) return;
      values.clear();
      report();
    },
  };
}

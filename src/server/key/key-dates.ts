/**
 * The dates between which a key can be used: warnings from 30 days before the KMS will refuse something, in the words that
 * `check` and the log use, and the watch that emits each of them once. All in UTC.
 */
import type { KeyDates, KeyInfo } from "../../encryptors/encryptor.ts";

/** How near a date is. `passed`: the KMS refuses by now. */
export type Nearness = "passed" | "7 days" | "30 days";

/** One date that is near, or that has passed. */
export interface DateWarning {
  /** The attribute's name, as `Protect Stop Date`. */
  readonly name: string;
  readonly at: Date;
  readonly nearness: Nearness;
  /** What happens then, in one line. */
  readonly message: string;
}

const dayMs = 86_400_000;
/** What to do about each of them. */
export const dateAdvice =
  "make a new key, give it to the plugin (--encryption-key-id, or move the label), and rewrite what is stored";

/** What to say of the dates at the time `now`; empty where none is near. */
export function dateWarnings(
  { protectStop, deactivation, processStart }: KeyDates,
  now = new Date(),
): DateWarning[] {
  const warnings: DateWarning[] = [];
  const add = (name: string, at: Date | undefined, then: string, since: string): void => {
    const nearness = at === undefined ? undefined : nearnessOf(at, now);
    if (at === undefined || nearness === undefined) return;
    const what = nearness === "passed" ? `passed: ${since}` : `is ${inDays(at, now)}: ${then}`;
    const message = `the key's ${name}, ${at.toISOString()}, ${nearness === "passed" ? "has " : ""}${what}`;
    warnings.push({ name, at, nearness, message });
  };
  add(
    "Protect Stop Date",
    protectStop,
    "the KMS will refuse Encrypt from then on, and Decrypt will still work",
    "the KMS refuses Encrypt, and Decrypt still works",
  );
  add(
    "Deactivation Date",
    deactivation,
    "the KMS will deactivate the key then",
    "the KMS has deactivated the key, or will",
  );
  if (processStart !== undefined && processStart > now)
    warnings.push({
      name: "Process Start Date",
      at: processStart,
      nearness: "passed",
      message: `the key's Process Start Date, ${processStart.toISOString()}, has not come: the KMS refuses Decrypt until then`,
    });
  return warnings;
}

function nearnessOf(at: Date, now: Date): Nearness | undefined {
  const days = (at.getTime() - now.getTime()) / dayMs;
  if (days <= 0) return "passed";
  if (days <= 7) return "7 days";
  return days <= 30 ? "30 days" : undefined;
}

function inDays(at: Date, now: Date): string {
  const days = Math.floor((at.getTime() - now.getTime()) / dayMs);
  if (days === 0) return "in less than a day";
  return days === 1 ? "in 1 day" : `in ${days} days`;
}

/** The dates of the key in use: emitted each time that they differ from before. */
export interface KeyDatesEvent {
  readonly type: "dates";
  readonly keyId: string;
  readonly dates: KeyDates;
}

/** One of the key's dates is near: emitted once for each {@link Nearness}. */
export interface KeyDateNearEvent {
  readonly type: "date-near";
  readonly keyId: string;
  readonly warning: DateWarning;
}

/** Reads the dates at every good probe. */
export class KeyDatesWatch {
  readonly #emit: (event: KeyDatesEvent | KeyDateNearEvent) => void;
  #known = "";
  readonly #emitted = new Set<string>();

  /** @param emit called synchronously; must not throw */
  constructor(emit: (event: KeyDatesEvent | KeyDateNearEvent) => void) {
    this.#emit = emit;
  }

  /** Takes what a probe found. */
  note({ keyId, dates = {} }: KeyInfo, now = new Date()): void {
    const known = JSON.stringify([keyId, dates]);
    if (known !== this.#known) {
      this.#known = known;
      this.#emitted.clear();
      this.#emit({ type: "dates", keyId, dates });
    }
    for (const warning of dateWarnings(dates, now)) {
      const mark = `${warning.name} ${warning.nearness}`;
      if (this.#emitted.has(mark)) continue;
      this.#emitted.add(mark);
      this.#emit({ type: "date-near", keyId, warning });
    }
  }
}

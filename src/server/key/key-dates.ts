/** Warns in time before a date of the key on which the KMS will stop to encrypt with it. */
import type { KeyDates, KeyInfo } from "../../encryptors/encryptor.ts";

const dayMs = 24 * 60 * 60_000;
/** How long before a date there is a warning, in days; the longest first. */
const warnDays = [30, 7] as const;

/** What the KMS told of the key's dates: each time that they differ from before. */
export interface KeyDatesEvent {
  readonly type: "dates";
  readonly keyId: string;
  readonly dates: KeyDates;
}

/** The dates that end the use of a key. */
export type EndDate = Exclude<keyof KeyDates, "processStart">;

/** One of the key's dates is less than 30 or less than 7 days away: told once for each. */
export interface KeyDateNearEvent {
  readonly type: "date-near";
  readonly keyId: string;
  readonly date: EndDate;
  readonly at: Date;
  /** Whole days until then; 0 where it has passed. */
  readonly daysLeft: number;
}

/** Reads the dates at every probe. */
export class KeyDatesWatch {
  readonly #emit: (event: KeyDatesEvent | KeyDateNearEvent) => void;
  #known = "";
  /** The nearest threshold that was told of each date, in days. */
  readonly #told = new Map<EndDate, number>();

  /** @param emit called synchronously; must not throw */
  constructor(emit: (event: KeyDatesEvent | KeyDateNearEvent) => void) {
    this.#emit = emit;
  }

  /** Takes what a good probe found. */
  note({ keyId, dates = {} }: KeyInfo, now = Date.now()): void {
    const known = JSON.stringify([keyId, dates]);
    if (known !== this.#known) {
      this.#known = known;
      this.#told.clear();
      this.#emit({ type: "dates", keyId, dates });
    }
    for (const date of ["deactivation", "protectStop"] as const) {
      const at = dates[date];
      if (at !== undefined) this.#warn(keyId, date, at, now);
    }
  }

  #warn(keyId: string, date: EndDate, at: Date, now: number): void {
    const days = (at.getTime() - now) / dayMs;
    const threshold = warnDays.findLast((limit) => days < limit);
    const told = this.#told.get(date);
    if (threshold === undefined || (told !== undefined && told <= threshold)) return;
    this.#told.set(date, threshold);
    this.#emit({ type: "date-near", keyId, date, at, daysLeft: Math.max(0, Math.floor(days)) });
  }
}

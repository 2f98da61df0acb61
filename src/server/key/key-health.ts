/**
 * The health of the key: a named state, and the one function that changes it. Knows no probe and no KMS: key-status.ts
 * reports here what a probe found, and everything that is asked about the key is answered from here.
 */
import type { ProviderError } from "../../errors.ts";
import { callerMessage } from "../rpc/errors.ts";
import type { FailureKind } from "./key-failure.ts";

/**
 * `unknown`: no probe has ended yet. `ok`. `grace`: a transient failure that Status does not report yet.
 * `transient`: one that lasted longer than the grace period. `permanent`: the key must not be used.
 */
export type KeyState = "unknown" | "ok" | "grace" | "transient" | "permanent";

/** What is known at one moment. */
export interface KeySnapshot {
  readonly state: KeyState;
  /** The current key; undefined until a deep probe has succeeded once. */
  readonly keyId?: string;
  /** What Status answers: `ok`, or the failure in words fit for a caller. */
  readonly healthz: string;
  readonly lastGoodProbe?: Date;
  readonly lastDeepProbe?: Date;
  /** What the last probe failed with, with its details for the log. Set in the states grace, transient and permanent. */
  readonly failure?: ProviderError;
}

/** Why a probe failed. */
export interface Failure {
  readonly error: ProviderError;
  readonly kind: FailureKind;
  /** The current key was tried by itself, and works. */
  readonly keyWorks: boolean;
}

/** What a good probe found. */
export interface Success {
  readonly keyId: string;
  readonly isDeep: boolean;
}

type Health =
  | { readonly state: "unknown" | "ok"; readonly failure?: never }
  | { readonly state: "grace" | "transient" | "permanent"; readonly failure: Failure };

/** A point in time, on the clock that cannot be set and on the one that people read. */
interface Moment {
  readonly at: number;
  readonly date: Date;
}

/** The current key and its health. Key and state change in one step, so that Encrypt's key_id is always Status's. */
export class KeyHealth {
  readonly #graceMs: number;
  readonly #onChange: (from: KeyState, now: KeySnapshot) => void;
  #health: Health = { state: "unknown" };
  #keyId: string | undefined;
  #lastGood: Moment | undefined;
  #lastDeep: Moment | undefined;
  #graceTimer: NodeJS.Timeout | undefined;

  /**
   * @param graceMs for how long after the last good probe a transient failure is not reported, in ms
   * @param onChange called at each change of state, or of the code of its failure, synchronously; must not throw
   */
  constructor(graceMs: number, onChange: (from: KeyState, now: KeySnapshot) => void) {
    this.#graceMs = graceMs;
    this.#onChange = onChange;
  }

  get state(): KeyState {
    return this.#health.state;
  }

  get keyId(): string | undefined {
    return this.#keyId;
  }

  /** Time since the last good deep probe, in ms; undefined where there was none. */
  get sinceDeepMs(): number | undefined {
    return this.#lastDeep === undefined ? undefined : elapsedMs(this.#lastDeep);
  }

  snapshot(): KeySnapshot {
    return {
      state: this.#health.state,
      healthz: this.#healthz(),
      ...(this.#keyId !== undefined && { keyId: this.#keyId }),
      ...(this.#lastGood !== undefined && { lastGoodProbe: this.#lastGood.date }),
      ...(this.#lastDeep !== undefined && { lastDeepProbe: this.#lastDeep.date }),
      ...(this.#health.failure !== undefined && { failure: this.#health.failure.error }),
    };
  }

  /** A probe was good. */
  succeed({ keyId, isDeep }: Success): void {
    this.#keyId = keyId;
    this.#lastGood = { at: performance.now(), date: new Date() };
    if (isDeep) this.#lastDeep = this.#lastGood;
    this.#change({ state: "ok" });
  }

  /** A probe failed. */
  fail(failure: Failure): void {
    if (failure.kind === "permanent") {
      this.#change({ state: "permanent", failure });
      return;
    }
    // A disabled key has not recovered because the KMS is unreachable: permanent stays until a probe is good.
    if (this.#health.state === "permanent" && !failure.keyWorks) return;
    const leftMs = this.#lastGood === undefined ? 0 : this.#graceMs - elapsedMs(this.#lastGood);
    this.#change({ state: leftMs > 0 ? "grace" : "transient", failure });
    if (leftMs > 0) this.#graceTimer = setTimeout(() => this.fail(failure), Math.ceil(leftMs)).unref();
  }

  /** Ends the grace period's timer: the state changes no more by itself. */
  stop(): void {
    clearTimeout(this.#graceTimer);
  }

  #change(next: Health): void {
    clearTimeout(this.#graceTimer);
    const { state: from, failure: before } = this.#health;
    this.#health = next;
    const isSame = from === next.state && before?.error.code === next.failure?.error.code;
    if (!isSame) this.#onChange(from, this.snapshot());
  }

  #healthz(): string {
    const { state, failure } = this.#health;
    if (state === "ok" || state === "grace") return "ok";
    if (failure === undefined) return "the key has not been probed yet";
    const works = failure.keyWorks ? "; the current key still works" : "";
    const since =
      this.#lastGood === undefined ? "" : `; last good probe ${this.#lastGood.date.toISOString()}`;
    return `${callerMessage(failure.error)}${works}${since}`;
  }
}

function elapsedMs(since: Moment): number {
  return performance.now() - since.at;
}

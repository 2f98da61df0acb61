/**
 * What this program knows of its key: a probe in the background finds it out, and Status answers from memory. The
 * current key and its health change in one step, at the end of a probe, so that Encrypt's key_id always equals
 * Status's. Decrypt never asks here and never changes anything here.
 */
import { ProviderError, toProviderError } from "../../errors.ts";
import type { CallContext, Encryptor, KeySelector } from "../../encryptors/encryptor.ts";
import { settleWithin } from "../rpc/deadline.ts";
import { failureKind, KeyUnavailableError } from "./key-failure.ts";
import type { FailureKind } from "./key-failure.ts";
import { KeyDatesWatch } from "./key-dates.ts";
import type { KeyDateNearEvent, KeyDatesEvent } from "./key-dates.ts";
import { KeyHealth } from "./key-health.ts";
import type { Failure, KeySnapshot, KeyState } from "./key-health.ts";
import { createKeyProbe } from "./key-probe.ts";
import type { KeyProbe } from "./key-probe.ts";
import { ProbeTimer } from "./probe-timer.ts";
import { createSampleFile } from "./sample-file.ts";
import { createSampleStore } from "./samples.ts";
import type { SampleFileEvent, SampleStore } from "./samples.ts";

export type { KeySnapshot, KeyState } from "./key-health.ts";

/** What happens to the key, for log and metrics. */
export type StatusEvent =
  | {
      readonly type: "probe";
      readonly kind: "light" | "deep";
      readonly outcome: "ok" | FailureKind;
      readonly durationMs: number;
      readonly failure?: ProviderError;
      /** Why it ran before its time; undefined where it did not. */
      readonly reason?: string;
    }
  | { readonly type: "key"; readonly keyId: string; readonly previous?: string; readonly name?: string }
  /** The state changed, or the code of its failure. */
  | { readonly type: "state"; readonly from: KeyState; readonly now: KeySnapshot }
  | KeyDatesEvent
  | KeyDateNearEvent
  | SampleFileEvent;

/** How a {@link KeyStatus} is made. */
export interface KeyStatusOptions {
  readonly encryptor: Encryptor;
  /**
   * The configured key: a failure of a label need not be one of the key that it led to. Undefined is taken for a
   * label, where the key itself is tried before it is given up.
   */
  readonly key?: KeySelector;
  /** Time between two probes while the key is healthy, in ms. */
  readonly probeIntervalMs: number;
  /** Least time between two deep probes of a healthy key, in ms. */
  readonly deepProbeIntervalMs: number;
  /** For how long after the last good probe a transient failure is not reported, in ms. */
  readonly graceMs: number;
  /** --timeout, in ms: no answer of the KMS is waited for longer. */
  readonly timeoutMs: number;
  /** Folder for what deep probes wrapped; undefined: it is kept in memory only. */
  readonly stateDir?: string | undefined;
  /** Called synchronously; must not throw. */
  readonly onEvent?: (event: StatusEvent) => void;
}

/** The key's health, from memory. */
export interface KeyStatus {
  /** Starts probing. */
  start(): void;
  /** Stops probing; resolves when no probe is running. Idempotent. */
  stop(): Promise<void>;
  /**
   * What Status answers. Waits only until the first probe has ended.
   * @throws KeyUnavailableError where there is no key to name, or it must not be used; the signal's reason
   */
  current(context: Pick<CallContext, "signal">): Promise<{ keyId: string; healthz: string }>;
  /** The key that Encrypt uses now: what Status says. @throws as `current` */
  encryptionKey(context: Pick<CallContext, "signal">): Promise<string>;
  snapshot(): KeySnapshot;
  /** Has a deep probe run as soon as possible: now, or a second after the start of the last one. */
  probeSoon(reason: string): void;
  /** Calls `listener` at every change of state, or of the code of its failure. Returns what ends that. */
  onState(listener: (now: KeySnapshot) => void): () => void;
}

/** Makes the status of one key; `start` begins to probe. */
export function createKeyStatus(options: KeyStatusOptions): KeyStatus {
  return new ProbedKeyStatus(options);
}

/** A probe that has ended. */
interface Probed {
  readonly kind: "light" | "deep";
  readonly failure?: Failure;
}

class ProbedKeyStatus implements KeyStatus {
  readonly #options: KeyStatusOptions;
  readonly #emit: (event: StatusEvent) => void;
  readonly #stopping = new AbortController();
  readonly #samples: SampleStore;
  readonly #probe: KeyProbe;
  readonly #health: KeyHealth;
  readonly #dates: KeyDatesWatch;
  readonly #timer: ProbeTimer;
  readonly #firstProbe = Promise.withResolvers<void>();
  readonly #listeners = new Set<(now: KeySnapshot) => void>();
  #wantedFor: string | undefined;

  constructor(options: KeyStatusOptions) {
    this.#options = options;
    const { encryptor, timeoutMs, stateDir, graceMs, probeIntervalMs: intervalMs } = options;
    this.#emit = options.onEvent ?? ((): void => undefined);
    const file = stateDir === undefined ? undefined : createSampleFile(stateDir);
    const samples = (this.#samples = createSampleStore(file, this.#emit));
    this.#probe = createKeyProbe({ encryptor, timeoutMs, stop: this.#stopping.signal, samples });
    this.#health = new KeyHealth(graceMs, (from, now) => this.#tell(from, now));
    this.#dates = new KeyDatesWatch(this.#emit);
    this.#timer = new ProbeTimer({ intervalMs, run: () => this.#run() });
  }

  start(): void {
    this.#timer.start();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#health.stop();
    await this.#timer.stop();
    await this.#samples.settle();
  }

  async current({ signal }: Pick<CallContext, "signal">): Promise<{ keyId: string; healthz: string }> {
    if (this.#health.state === "unknown") await settleWithin(this.#firstProbe.promise, signal);
    const { state, keyId, healthz, failure } = this.#health.snapshot();
    if (failure !== undefined && (state === "permanent" || keyId === undefined))
      throw new KeyUnavailableError(failure, state === "permanent" ? "permanent" : "transient");
    return { keyId: keyId ?? "", healthz };
  }

  async encryptionKey(context: Pick<CallContext, "signal">): Promise<string> {
    return (await this.current(context)).keyId;
  }

  snapshot(): KeySnapshot {
    return this.#health.snapshot();
  }

  probeSoon(reason: string): void {
    this.#wantedFor = reason;
    this.#timer.soon();
  }

  onState(listener: (now: KeySnapshot) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(from: KeyState, now: KeySnapshot): void {
    this.#emit({ type: "state", from, now });
    for (const listener of this.#listeners) listener(now);
  }

  /** Runs one probe and says what came of it. @returns whether it was good */
  async #run(): Promise<boolean> {
    const started = performance.now();
    const reason = this.#wantedFor;
    this.#wantedFor = undefined;
    const probed = await this.#probeOnce(reason !== undefined);
    if (probed === undefined) return true;
    const { kind, failure } = probed;
    this.#emit({
      type: "probe",
      kind,
      outcome: failure?.kind ?? "ok",
      durationMs: performance.now() - started,
      ...(failure !== undefined && { failure: failure.error }),
      ...(reason !== undefined && { reason }),
    });
    this.#firstProbe.resolve();
    return failure === undefined;
  }

  /** @returns undefined where it was stopped: then nothing is known */
  async #probeOnce(mustBeDeep: boolean): Promise<Probed | undefined> {
    const { signal } = this.#stopping;
    let kind: Probed["kind"] = "light";
    let about: string | undefined;
    try {
      const info = await this.#probe.resolve();
      about = info.keyId;
      if (mustBeDeep || this.#isDeepDue(info.keyId)) {
        kind = "deep";
        await this.#probe.selfTest(info.keyId);
      }
      if (signal.aborted) return undefined;
      this.#dates.note(info);
      this.#succeed(info.keyId, kind === "deep", info.name);
      return { kind };
    } catch (caught) {
      if (signal.aborted) return undefined;
      const error = toProviderError(caught);
      const failure = await this.#judge(error, about ?? keyNamedBy(error));
      if (signal.aborted) return undefined;
      this.#health.fail(failure);
      return { kind, failure };
    }
  }

  #isDeepDue(keyId: string): boolean {
    const { state, sinceDeepMs } = this.#health;
    if (keyId !== this.#health.keyId || state !== "ok" || sinceDeepMs === undefined) return true;
    return sinceDeepMs >= this.#options.deepProbeIntervalMs;
  }

  #succeed(keyId: string, isDeep: boolean, name: string | undefined): void {
    const previous = this.#health.keyId;
    if (previous !== keyId)
      this.#emit({
        type: "key",
        keyId,
        ...(previous !== undefined && { previous }),
        ...(name !== undefined && { name }),
      });
    this.#health.succeed({ keyId, isDeep });
  }

  /** What a failed probe means. `about`: the key that it was about, where that is known. */
  async #judge(error: ProviderError, about: string | undefined): Promise<Failure> {
    const kind = failureKind(error);
    const currentKey = this.#health.keyId;
    if (kind === "transient" || currentKey === undefined) return { error, kind, keyWorks: false };
    const { key } = this.#options;
    const isById = key !== undefined && "id" in key;
    if (isById || about === currentKey) return { error, kind, keyWorks: false };
    // The label is lost, given twice, or leads to a key that cannot be used. That is no reason to stop writing under
    // the current key, if that one still works: a transient failure, reported after the grace period.
    try {
      await this.#probe.selfTest(currentKey);
      return { error, kind: "transient", keyWorks: true };
    } catch (caught) {
      const own = toProviderError(caught);
      const ownKind = failureKind(own);
      return { error: ownKind === "permanent" ? own : error, kind: ownKind, keyWorks: false };
    }
  }
}

/** The key that an error of resolveKey is about, where it says so. */
function keyNamedBy(error: ProviderError): string | undefined {
  const { keyId } = error.details;
  return typeof keyId === "string" ? keyId : undefined;
}

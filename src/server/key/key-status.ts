/**
 * What this program knows of its key: a probe in the background keeps it, Status answers from it (DESIGN.md,
 * decisions 2 and 3). The current key and its health change in one step, at the end of a probe, so that
 * Encrypt's key_id always equals Status's. Decrypt never asks here and never changes anything here.
 */
import { toProviderError } from "../../errors.ts";
import type { ProviderError } from "../../errors.ts";
import type { CallContext, Encryptor, KeySelector } from "../../encryptors/encryptor.ts";
import { settleWithin } from "../rpc/deadline.ts";
import { callerMessage } from "../rpc/errors.ts";
import { failureKind, KeyUnavailableError } from "./key-failure.ts";
import type { FailureKind } from "./key-failure.ts";
import { createKeyProbe } from "./key-probe.ts";
import { createProbeTimer } from "./probe-timer.ts";

/** Time between two deep probes of a key that is well, in ms. */
export const deepProbeIntervalMs = 5 * 60_000;

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
  /** What Status says: `ok`, or what is wrong in words fit for a caller. */
  readonly healthz: string;
  readonly lastGoodProbe?: Date;
  readonly lastDeepProbe?: Date;
  /** What is wrong, with its details for the log. Set in the states grace, unwell and final. */
  readonly trouble?: ProviderError;
}

/** What happens to the key, for log and metrics. */
export type StatusEvent =
  | {
      readonly type: "probe";
      readonly kind: "light" | "deep";
      readonly outcome: "ok" | FailureKind;
      readonly durationMs: number;
      readonly trouble?: ProviderError;
      /** Why it ran before its time; undefined where it did not. */
      readonly reason?: string;
    }
  | { readonly type: "key"; readonly keyId: string; readonly previous?: string; readonly name?: string }
  | { readonly type: "state"; readonly from: KeyState; readonly now: KeySnapshot };

/** How a {@link KeyStatus} is made. */
export interface KeyStatusOptions {
  readonly encryptor: Encryptor;
  /**
   * The configured key: trouble with a label need not be trouble with the key it led to. Undefined is taken for
   * a label, where the key itself is tried before it is given up.
   */
  readonly key?: KeySelector;
  /** Time between two probes when well, in ms. */
  readonly probeIntervalMs: number;
  /** For how long after the last good probe passing trouble is not told, in ms. */
  readonly graceMs: number;
  /** --timeout, in ms: no answer of the KMS is waited for longer. */
  readonly timeoutMs: number;
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
  /** Has a deep probe run as soon as may be: now, or a second after the start of the last one. */
  probeSoon(reason: string): void;
  /** Calls `listener` at every change of state. Returns what ends that. */
  onState(listener: (now: KeySnapshot) => void): () => void;
}

interface Trouble {
  readonly error: ProviderError;
  readonly kind: FailureKind;
  /** The current key was tried by itself, and works. */
  readonly keyWorks: boolean;
}

/** Makes the status of one key; `start` begins to probe. */
export function createKeyStatus(options: KeyStatusOptions): KeyStatus {
  const stopping = new AbortController();
  const probe = createKeyProbe(options.encryptor, options.timeoutMs, stopping.signal);
  const firstProbe = Promise.withResolvers<void>();
  const listeners = new Set<(now: KeySnapshot) => void>();
  const emit = options.onEvent ?? ((): void => undefined);

  let hasProbed = false;
  let wantedFor: string | undefined;
  let currentKey: string | undefined;
  let trouble: Trouble | undefined;
  let lastGood: Moment | undefined;
  let lastDeep: Moment | undefined;
  let toldState: KeyState = "unknown";

  function state(): KeyState {
    if (!hasProbed) return "unknown";
    if (trouble === undefined) return "ok";
    if (trouble.kind === "permanent") return "permanent";
    return lastGood !== undefined && elapsedMs(lastGood) < options.graceMs ? "grace" : "transient";
  }

  function healthz(of: KeyState): string {
    if (of === "ok" || of === "grace") return "ok";
    if (trouble === undefined) return "the key has not been probed yet";
    const works = trouble.keyWorks ? "; the current key still works" : "";
    const since = lastGood === undefined ? "" : `; last good probe ${lastGood.date.toISOString()}`;
    return `${callerMessage(trouble.error)}${works}${since}`;
  }

  function snapshot(): KeySnapshot {
    const now = state();
    return {
      state: now,
      healthz: healthz(now),
      ...(currentKey !== undefined && { keyId: currentKey }),
      ...(lastGood !== undefined && { lastGoodProbe: lastGood.date }),
      ...(lastDeep !== undefined && { lastDeepProbe: lastDeep.date }),
      ...(trouble !== undefined && { trouble: trouble.error }),
    };
  }

  function isDeepDue(keyId: string): boolean {
    if (keyId !== currentKey || trouble !== undefined || lastDeep === undefined) return true;
    return elapsedMs(lastDeep) >= deepProbeIntervalMs;
  }

  /** What a failed probe means. `about`: the key that it was about, where that is known. */
  async function judge(error: ProviderError, about: string | undefined): Promise<Trouble> {
    const kind = failureKind(error);
    if (kind === "transient" || currentKey === undefined) return { error, kind, keyWorks: false };
    const isById = options.key !== undefined && "id" in options.key;
    if (isById || about === currentKey) return { error, kind, keyWorks: false };
    // The label is lost, doubled, or leads to a key that cannot be used. That is no reason to stop writing under
    // the current key, if that one still works: passing trouble, told after the grace.
    try {
      await probe.selfTest(currentKey);
      return { error, kind: "transient", keyWorks: true };
    } catch (caught) {
      const own = toProviderError(caught);
      const ownKind = failureKind(own);
      return { error: ownKind === "permanent" ? own : error, kind: ownKind, keyWorks: false };
    }
  }

  function succeed(keyId: string, isDeep: boolean, name: string | undefined): void {
    const previous = currentKey;
    currentKey = keyId;
    trouble = undefined;
    lastGood = moment();
    if (isDeep) lastDeep = lastGood;
    if (previous !== keyId) {
      emit({
        type: "key",
        keyId,
        ...(previous !== undefined && { previous }),
        ...(name !== undefined && { name }),
      });
    }
  }

  function fail(found: Trouble): void {
    // A dead key is not well again because the KMS is out of reach: final stays until a probe is good.
    if (trouble?.kind === "permanent" && found.kind === "transient" && !found.keyWorks) return;
    trouble = found;
  }

  async function runProbe(): Promise<boolean> {
    const started = performance.now();
    let kind: "light" | "deep" = "light";
    let about: string | undefined;
    let found: Trouble | undefined;
    const reason = wantedFor;
    wantedFor = undefined;
    try {
      const info = await probe.resolve();
      about = info.keyId;
      if (reason !== undefined || isDeepDue(info.keyId)) {
        kind = "deep";
        await probe.selfTest(info.keyId);
      }
      if (stopping.signal.aborted) return true;
      succeed(info.keyId, kind === "deep", info.name);
    } catch (caught) {
      if (stopping.signal.aborted) return true;
      const error = toProviderError(caught);
      found = await judge(error, about ?? keyNamedBy(error));
      if (stopping.signal.aborted) return true;
      fail(found);
    }
    hasProbed = true;
    emit({
      type: "probe",
      kind,
      outcome: found?.kind ?? "ok",
      durationMs: performance.now() - started,
      ...(found !== undefined && { trouble: found.error }),
      ...(reason !== undefined && { reason }),
    });
    tellState();
    firstProbe.resolve();
    return found === undefined;
  }

  function tellState(): void {
    const now = snapshot();
    if (now.state === toldState) return;
    const from = toldState;
    toldState = now.state;
    emit({ type: "state", from, now });
    for (const listener of listeners) listener(now);
  }

  const timer = createProbeTimer({ intervalMs: options.probeIntervalMs, run: runProbe });

  async function current(context: Pick<CallContext, "signal">): Promise<{ keyId: string; healthz: string }> {
    if (!hasProbed) await settleWithin(firstProbe.promise, context.signal);
    const now = state();
    if (trouble !== undefined && (now === "permanent" || currentKey === undefined)) {
      throw new KeyUnavailableError(trouble.error, trouble.kind);
    }
    return { keyId: currentKey ?? "", healthz: healthz(now) };
  }

  return {
    start: timer.start,
    async stop() {
      stopping.abort();
      await timer.stop();
    },
    current,
    async encryptionKey(context) {
      return (await current(context)).keyId;
    },
    snapshot,
    probeSoon(reason) {
      wantedFor = reason;
      timer.soon();
    },
    onState(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** A point in time, on the clock that cannot be set and on the one that people read. */
interface Moment {
  readonly at: number;
  readonly date: Date;
}

function moment(): Moment {
  return { at: performance.now(), date: new Date() };
}

function elapsedMs(since: Moment): number {
  return performance.now() - since.at;
}

/** The key that an error of resolveKey is about, where it says so. */
function keyNamedBy(error: ProviderError): string | undefined {
  const { keyId } = error.details;
  return typeof keyId === "string" ? keyId : undefined;
}

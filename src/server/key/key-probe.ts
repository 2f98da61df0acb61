/**
 * One probe of the key in the KMS. Light: resolve the configured key and check its attributes. Deep: besides, random
 * bytes through Encrypt, which proves itself by a Decrypt, and a Decrypt of what an earlier deep probe wrapped. Never asks for key material.
 * Does not judge: key-status.ts decides what a result means.
 */
import { randomBytes } from "node:crypto";
import { ProviderError, toProviderError } from "../../errors.ts";
import type { CallContext, Encryptor, KeyInfo } from "../../encryptors/encryptor.ts";
import { settleWithin, startBudget } from "../rpc/deadline.ts";
import { checkKeyId } from "../rpc/limits.ts";
import { isOpened, type Sample, sampleHash, type SampleStore } from "./samples.ts";

/**
 * Longest wait for one answer of the KMS in a probe, in ms; --timeout, where it is shorter. Under 5 s, so that the
 * recovery of a KMS which hung is noticed within 5 s.
 */
const probeStepMs = 4000;

const testBytes = 32;

/** How a {@link KeyProbe} is made. */
export interface KeyProbeOptions {
  /** One that proves each Encrypt. */
  readonly encryptor: Encryptor;
  /** --timeout, in ms. */
  readonly timeoutMs: number;
  /** Aborts whatever probe is running. */
  readonly stop: AbortSignal;
  /** What earlier probes wrapped. */
  readonly samples: SampleStore;
}

/** Makes probes with one encryptor. All methods throw ProviderError only. */
export interface KeyProbe {
  /** Finds the configured key. @throws what Encryptor.resolveKey does, RESPONSE_TOO_LARGE for its identifier */
  resolve(): Promise<KeyInfo>;
  /**
   * Wraps and unwraps random bytes, and unwraps what an earlier probe wrapped under the same key_id.
   * @throws what the encryptor does; KEY_SELF_TEST where its own ciphertext is refused or other bytes come back;
   *   KEY_CHANGED where that happens with the earlier one only, or KEY_SELF_TEST where another server had wrapped that
   */
  selfTest(keyId: string): Promise<void>;
}

/** Makes a {@link KeyProbe}. */
export function createKeyProbe({ encryptor, timeoutMs, stop, samples }: KeyProbeOptions): KeyProbe {
  async function step<T>(work: (context: CallContext) => Promise<T>): Promise<T> {
    const budget = startBudget(timeoutMs, probeStepMs);
    const onStop = (): void => {
      budget.cancel(new ProviderError("SHUTTING_DOWN", "the probe was stopped"));
    };
    if (stop.aborted) onStop();
    stop.addEventListener("abort", onStop, { once: true });
    try {
      return await settleWithin(work({ signal: budget.signal, deadline: budget.deadline }), budget.signal);
    } finally {
      stop.removeEventListener("abort", onStop);
      budget.end();
    }
  }

  /** Wraps random bytes; that they come back is proved by the encryptor. @throws KEY_SELF_TEST where they do not */
  async function wrap(keyId: string): Promise<Sample> {
    const plaintext = randomBytes(testBytes);
    let server: string | undefined;
    const onServer = (name: string): void => {
      server = name;
    };
    const wrapped = await step((context) => encryptor.encrypt(plaintext, keyId, { ...context, onServer }));
    return {
      protocol: encryptor.protocol,
      keyId,
      ...wrapped,
      sha256: sampleHash(plaintext),
      wrappedAt: new Date(),
      server,
    };
  }

  /**
   * Unwraps what an earlier probe wrapped, by the server that had done it where that answers.
   * @returns why the KMS does not open it any more, undefined where it does. @throws where that is not known
   */
  async function whyLost(sample: Sample): Promise<Lost | undefined> {
    let server: string | undefined;
    const onServer = (name: string): void => {
      server = name;
    };
    try {
      const opened = await step((context) =>
        encryptor.decrypt(sample, { ...context, server: sample.server, onServer }),
      );
      if (isOpened(sample, opened)) return undefined;
      const message = "Decrypt gave other bytes than were wrapped";
      return { server, cause: new ProviderError("REQUEST_CIPHERTEXT_INVALID", message) };
    } catch (caught) {
      const error = toProviderError(caught);
      // Servers do not agree on how to say that a ciphertext does not belong to a key: some give General Failure.
      const refusal = error.refusal?.class;
      const isAboutBytes = refusal === "invalid-argument" || refusal === "other";
      if (isAboutBytes || error.code === "REQUEST_CIPHERTEXT_INVALID") return { server, cause: error };
      throw error;
    }
  }

  return {
    async resolve() {
      const info = await step((context) => encryptor.resolveKey(context));
      checkKeyId(info.keyId);
      return info;
    },
    async selfTest(keyId) {
      const fresh = await wrap(keyId);
      const kept = await samples.find(encryptor.protocol, keyId);
      if (kept === undefined) {
        samples.keep(fresh);
        return;
      }
      if ((await whyLost(kept)) === undefined) return;
      // Once more: a KMS that fails now and then must not pass for one that has lost a key.
      await wrap(keyId);
      const lost = await whyLost(kept);
      if (lost !== undefined)
        throw isOfAnother(kept, lost) ? serversDiffer(kept, lost) : keyChanged(kept, lost);
    },
  };
}

/** That an earlier value does not open, and by which server's word. */
interface Lost {
  readonly cause: ProviderError;
  readonly server: string | undefined;
}

function isOfAnother(sample: Sample, { server }: Lost): boolean {
  return sample.server !== undefined && server !== undefined && server !== sample.server;
}

/** After a failover: the other server has other bytes, or not yet these. Its own values are no safer. */
function serversDiffer({ keyId, wrappedAt, server }: Sample, { cause, server: other }: Lost): ProviderError {
  return new ProviderError(
    "KEY_SELF_TEST",
    `${other} does not decrypt what ${server} encrypted at ${wrappedAt.toISOString()} under the key ${keyId}: it` +
      " holds another key under this identifier, or lags behind; compare the keys of both, and give --serv-addr only servers that share them",
    { details: { keyId, wrappedAt: wrappedAt.toISOString() }, cause },
  );
}

function keyChanged({ keyId, wrappedAt }: Sample, { cause }: Lost): ProviderError {
  return new ProviderError(
    "KEY_CHANGED",
    `the bytes of the key ${keyId} were exchanged under its identifier: values wrapped before can no longer be read` +
      ` (new values can, but not what a probe wrapped at ${wrappedAt.toISOString()}); restore the former key in the KMS`,
    { details: { keyId, wrappedAt: wrappedAt.toISOString() }, cause },
  );
}

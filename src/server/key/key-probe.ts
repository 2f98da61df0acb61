/**
 * One probe of the key in the KMS. Light: resolve the configured key and check its attributes. Deep: besides, random
 * bytes through Encrypt and Decrypt, and a Decrypt of what an earlier deep probe wrapped. Never asks for key material.
 * Does not judge: key-status.ts decides what a result means.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { ProviderError, toProviderError } from "../../errors.ts";
import type { CallContext, Encryptor, KeyInfo } from "../../encryptors/encryptor.ts";
import { settleWithin, startBudget } from "../rpc/deadline.ts";
import { checkKeyId } from "../rpc/limits.ts";
import { isOpened, type Sample, sampleHash, type SampleStore } from "./samples.ts";

/**
 * Longest wait for one answer of the KMS in a probe, in ms; --timeout, where it is shorter. Under 5 s, so that the
 * recovery of a KMS which hung is noticed within 5 s.
 */
export const probeStepMs = 4000;

const testBytes = 32;

/** How a {@link KeyProbe} is made. */
export interface KeyProbeOptions {
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
   *   KEY_CHANGED where that happens with the earlier one only
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

  /** @throws KEY_SELF_TEST */
  async function roundTrip(keyId: string): Promise<Sample> {
    const plaintext = randomBytes(testBytes);
    const wrapped = await step((context) => encryptor.encrypt(plaintext, keyId, context));
    const unwrapped = await step((context) => encryptor.decrypt({ ...wrapped, keyId }, context)).catch(
      (error: unknown) => {
        throw toProviderError(error).code === "REQUEST_CIPHERTEXT_INVALID"
          ? new ProviderError("KEY_SELF_TEST", "the KMS does not decrypt what it has just encrypted", {
              details: { keyId },
              cause: error,
            })
          : error;
      },
    );
    if (unwrapped.length !== plaintext.length || !timingSafeEqual(unwrapped, plaintext)) {
      throw new ProviderError("KEY_SELF_TEST", "Decrypt gave other bytes than Encrypt was given", {
        details: { keyId },
      });
    }
    return {
      protocol: encryptor.protocol,
      keyId,
      ...wrapped,
      sha256: sampleHash(plaintext),
      wrappedAt: new Date(),
    };
  }

  /** @returns why the KMS does not open it any more, undefined where it does. @throws where that is not known */
  async function whyLost(sample: Sample): Promise<ProviderError | undefined> {
    try {
      const opened = await step((context) => encryptor.decrypt(sample, context));
      if (isOpened(sample, opened)) return undefined;
      return new ProviderError("REQUEST_CIPHERTEXT_INVALID", "Decrypt gave other bytes than were wrapped");
    } catch (caught) {
      const error = toProviderError(caught);
      // Servers do not agree on how to say that a ciphertext does not belong to a key: some give General Failure.
      const refusal = error.refusal?.class;
      const isAboutBytes = refusal === "invalid-argument" || refusal === "other";
      if (isAboutBytes || error.code === "REQUEST_CIPHERTEXT_INVALID") return error;
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
      const fresh = await roundTrip(keyId);
      const kept = await samples.find(encryptor.protocol, keyId);
      if (kept === undefined) {
        samples.keep(fresh);
        return;
      }
      if ((await whyLost(kept)) === undefined) return;
      // Once more: a KMS that fails now and then must not pass for one that has lost a key.
      await roundTrip(keyId);
      const cause = await whyLost(kept);
      if (cause !== undefined) throw keyChanged(kept, cause);
    },
  };
}

function keyChanged({ keyId, wrappedAt }: Sample, cause: ProviderError): ProviderError {
  return new ProviderError(
    "KEY_CHANGED",
    `the bytes of the key ${keyId} were exchanged under its identifier: values wrapped before can no longer be read` +
      ` (new values can, but not what a probe wrapped at ${wrappedAt.toISOString()}); restore the former key in the KMS`,
    { details: { keyId, wrappedAt: wrappedAt.toISOString() }, cause },
  );
}

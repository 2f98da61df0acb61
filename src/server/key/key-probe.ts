/**
 * One look at the key in the KMS. Light: resolve the configured key and check its attributes. Deep: besides,
 * random bytes through Encrypt and Decrypt. Never asks for key material. Holds no state: key-status.ts decides
 * what a result means.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { ProviderError, toProviderError } from "../../errors.ts";
import type { CallContext, Encryptor, KeyInfo } from "../../encryptors/encryptor.ts";
import { settleWithin, startBudget } from "../rpc/deadline.ts";
import { checkKeyId } from "../rpc/limits.ts";

/**
 * Longest wait for one answer of the KMS in a probe, in ms; --timeout, where it is shorter. Under 5 s, so that
 * a KMS which hung and answers again is seen to be well within 5 s.
 */
export const probeStepMs = 4000;

const testBytes = 32;

/** Makes probes with one encryptor. All methods throw ProviderError only. */
export interface KeyProbe {
  /** Finds the configured key. @throws what Encryptor.resolveKey does, RESPONSE_TOO_LARGE for its identifier */
  resolve(): Promise<KeyInfo>;
  /** Wraps and unwraps random bytes. @throws what the encryptor does; KEY_SELF_TEST where its own ciphertext is refused or other bytes come back */
  selfTest(keyId: string): Promise<void>;
}

/** @param stop aborts whatever probe is running */
export function createKeyProbe(encryptor: Encryptor, timeoutMs: number, stop: AbortSignal): KeyProbe {
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

  return {
    async resolve() {
      const info = await step((context) => encryptor.resolveKey(context));
      checkKeyId(info.keyId);
      return info;
    },
    async selfTest(keyId) {
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
    },
  };
}

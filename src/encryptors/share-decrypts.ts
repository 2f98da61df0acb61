/**
 * Identical Decrypts in flight share one exchange. kube-apiserver has no single flight of its own: since 1.37 it
 * decodes lists in parallel, and asks ten times for the same seed within a millisecond.
 */
import { ProviderError } from "../errors.ts";
import { isTimeUp, type WhyLate } from "../upstream/context.ts";
import type { CallContext, Encryptor, UnwrapRequest } from "./encryptor.ts";

interface Waiters {
  count: number;
  /** The latest of their deadlines. */
  deadline: number;
  /** Undefined until the exchange has begun. */
  whyLate: WhyLate | undefined;
}

interface SharedDecrypt {
  readonly plaintext: Promise<Uint8Array>;
  /** Aborted when the last waiter has left. */
  readonly control: AbortController;
  readonly waiters: Waiters;
  /** No further call joins it. */
  readonly forget: () => void;
}

/**
 * The same encryptor, with Decrypts shared that are alike in key, ciphertext and annotations. A waiter that leaves
 * does not disturb the others; the exchange ends when the last has left.
 */
export function shareDecrypts(encryptor: Encryptor): Encryptor {
  const inFlight = new Map<string, SharedDecrypt>();

  const begin = (key: string, request: UnwrapRequest, context: CallContext): SharedDecrypt => {
    const control = new AbortController();
    const waiters: Waiters = { count: 0, deadline: context.deadline ?? Infinity, whyLate: undefined };
    const plaintext = encryptor.decrypt(request, {
      ...context,
      signal: control.signal,
      get deadline() {
        return waiters.deadline;
      },
      onBegun: (whyLate) => {
        waiters.whyLate = whyLate;
      },
    });
    const forget = (): void => {
      if (inFlight.get(key) === shared) inFlight.delete(key);
    };
    const shared: SharedDecrypt = { control, waiters, plaintext, forget };
    inFlight.set(key, shared);
    shared.plaintext.then(shared.forget, shared.forget);
    return shared;
  };

  return {
    ...encryptor,
    decrypt: async (request, context) => {
      if (context.signal.aborted) throw leaveReason(context.signal);
      const key = identityOf(request);
      const running = inFlight.get(key);
      const plaintext = await join(running ?? begin(key, request, context), context);
      // Each its own bytes: what one does with them must not reach another.
      return running === undefined ? plaintext : plaintext.slice();
    },
  };
}

/** Waits for the shared result, or until this waiter leaves. The last to leave hears what the exchange says of it. */
function join(shared: SharedDecrypt, context: CallContext): Promise<Uint8Array> {
  const { signal } = context;
  const { waiters } = shared;
  waiters.count += 1;
  waiters.deadline = Math.max(waiters.deadline, context.deadline ?? Infinity);
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      waiters.count -= 1;
      if (waiters.count === 0) {
        shared.forget();
        shared.control.abort(signal.reason);
      } else reject(lateReason(waiters, signal));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    const stopListening = (): void => signal.removeEventListener("abort", onAbort);
    shared.plaintext.then(stopListening, stopListening);
    shared.plaintext.then(resolve, reject);
  });
}

/** Equal for two requests exactly where they are alike, whatever the order of their annotations. */
function identityOf({ keyId, ciphertext, annotations }: UnwrapRequest): string {
  let identity = `${keyId.length} ${ciphertext.length} ${keyId}${latin1(ciphertext)}`;
  for (const name of Object.keys(annotations).toSorted()) {
    const value = latin1(annotations[name] ?? noBytes);
    identity += ` ${name.length} ${value.length} ${name}${value}`;
  }
  return identity;
}

const noBytes = new Uint8Array();

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** Why a waiter whose time is over has no reply. A refusal that is retried is for the encryptor to translate, at the end. */
function lateReason({ whyLate }: Waiters, signal: AbortSignal): ProviderError {
  const late = isTimeUp(signal) ? whyLate?.(signal) : undefined;
  return late === undefined || late.kind === "refused" ? leaveReason(signal) : late;
}

function leaveReason(signal: AbortSignal): ProviderError {
  const reason: unknown = signal.reason;
  return reason instanceof ProviderError
    ? reason
    : new ProviderError("CANCELED", "the caller left", { cause: reason });
}

/**
 * What a failure of the KMS means for the key: it may pass, or the key must not be used (docs/troubleshooting.md).
 */
import type { ProviderError, RefusalClass } from "../../errors.ts";

/** `transient`: unreachable, slow, overloaded; trying again may help. `permanent`: the key must not be used. */
export type FailureKind = "transient" | "permanent";

/** The key cannot be used now: what Status and Encrypt throw to their callers, made by key-status.ts. */
export class KeyUnavailableError extends Error {
  override readonly name = "KeyUnavailableError";
  /** What the probe failed with. */
  readonly failure: ProviderError;
  readonly kind: FailureKind;

  constructor(failure: ProviderError, kind: FailureKind) {
    super(failure.message, { cause: failure });
    this.failure = failure;
    this.kind = kind;
  }
}

/** Refusals that concern the key or the rights to it: not there, not allowed, not in a state to be used. */
const permanentRefusals: ReadonlySet<RefusalClass> = new Set<RefusalClass>([
  "not-found",
  "permission-denied",
  "failed-precondition",
]);

/** Whether a failure is permanent. What is not known to be permanent is transient: the key may be healthy. */
export function failureKind(error: ProviderError): FailureKind {
  // With a key whose identifier kube-apiserver does not accept, no call can succeed.
  if (error.kind === "key" || error.code === "RESPONSE_TOO_LARGE") return "permanent";
  return error.refusal !== undefined && permanentRefusals.has(error.refusal.class)
    ? "permanent"
    : "transient";
}

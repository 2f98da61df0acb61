/**
 * What a failure of the KMS means for the key: it may pass, or the key must not be used (docs/troubleshooting.md).
 */
import { KmipResultError, RestError } from "../../errors.ts";
import type { ProviderError } from "../../errors.ts";

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

/** KMIP Result Reasons that concern the key but reach the server as KMIP_RESULT. */
const permanentReasons: ReadonlySet<string> = new Set([
  "Item Not Found",
  "Authentication Not Successful",
  "Permission Denied",
  "Object archived",
  "Object Archived",
  "Object destroyed",
  "Object Destroyed",
  "Illegal Operation",
  "Wrong Key Lifecycle State",
  "Key Value Not Present",
  "Incompatible Cryptographic Usage Mask",
]);

/** HTTP statuses that concern the key or the rights to it. */
const permanentStatuses: ReadonlySet<number> = new Set([401, 403, 404]);

/** Whether a failure is permanent. What is not known to be permanent is transient: the key may be healthy. */
export function failureKind(error: ProviderError): FailureKind {
  // With a key whose identifier kube-apiserver does not accept, no call can succeed.
  if (error.kind === "key" || error.code === "RESPONSE_TOO_LARGE") return "permanent";
  if (error instanceof KmipResultError) return permanentReasons.has(error.reason) ? "permanent" : "transient";
  const isRefused = error instanceof RestError && error.code === "REST_STATUS";
  return isRefused && permanentStatuses.has(error.status) ? "permanent" : "transient";
}

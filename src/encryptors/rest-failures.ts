/**
 * What the REST API's refusals mean for a key: HTTP statuses to KEY_* and REQUEST_* codes. Any other refusal stays
 * REST_STATUS, with its class.
 */
import { ProviderError, type RefusalClass, RestError } from "../errors.ts";
import type { KeySelector } from "./encryptor.ts";

/** A refusal of an Encrypt or Decrypt with the key `keyId`; anything else as it is. */
export function asCallFailure(error: unknown, keyId: string, isDecrypt: boolean): unknown {
  if (!isRefusal(error)) return error;
  const facts = { cause: error, details: { ...error.details, keyId } };
  if (error.status === 400 && isDecrypt)
    return new ProviderError("REQUEST_CIPHERTEXT_INVALID", "the KMS refuses the ciphertext", facts);
  if (error.status === 404)
    return new ProviderError("KEY_NOT_FOUND", `the KMS does not know the key ${keyId}`, facts);
  return classified(error);
}

/** A refusal to read or to list keys; anything else as it is. */
export function asResolveFailure(error: unknown, selector: KeySelector): unknown {
  if (!isRefusal(error)) return error;
  const facts = { cause: error, details: error.details };
  const isId = "id" in selector;
  if (error.status === 404) {
    const message = isId
      ? `the domain (--okms-id) has no service key ${selector.id}`
      : "the KMS does not know the domain (--okms-id)";
    return new ProviderError("KEY_NOT_FOUND", message, facts);
  }
  if (error.status === 401 || error.status === 403) {
    const what = isId ? `read the service key ${selector.id}` : "list the service keys";
    const message = `the client certificate may not ${what} (status ${error.status})`;
    return new ProviderError("KEY_ACCESS_DENIED", message, facts);
  }
  return classified(error);
}

function isRefusal(error: unknown): error is RestError {
  return error instanceof RestError && error.code === "REST_STATUS";
}

function classified(error: RestError): ProviderError {
  return new ProviderError("REST_STATUS", error.message, {
    cause: error.cause,
    retryable: error.retryable,
    details: error.details,
    refusal: { class: classOf(error.status), name: `status ${error.status}` },
  });
}

function classOf(status: number): RefusalClass {
  if (status === 400) return "invalid-argument";
  if (status === 401 || status === 403) return "permission-denied";
  if (status === 404) return "not-found";
  if (status === 429) return "overloaded";
  return status >= 500 ? "unavailable" : "other";
}

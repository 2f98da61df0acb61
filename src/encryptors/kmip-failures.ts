/**
 * What a KMIP server's refusal means for a key: Result Reasons (KMIP 1.4 section 9.1.3.2.29, and those of 2.0 that
 * servers send to 1.x clients) to KEY_* codes. What is not listed stays KMIP_RESULT, with its class.
 */
import { type ErrorCode, KmipResultError, ProviderError, type RefusalClass } from "../errors.ts";

type KeyCode = Extract<ErrorCode, `KEY_${string}`>;

interface Meaning {
  readonly code: KeyCode;
  /** What is wrong, and what to do. */
  readonly advice: string;
}

const notFound: Meaning = {
  code: "KEY_NOT_FOUND",
  advice: "the KMS has no such key, or does not show it to this client certificate",
};
const denied: Meaning = {
  code: "KEY_ACCESS_DENIED",
  advice: "the KMS denies it to this client certificate: give it the right to use the key",
};
const notAuthenticated: Meaning = {
  code: "KEY_ACCESS_DENIED",
  advice:
    "the KMS does not accept the identity of this client: check the client certificate (--client-cert), and if the KMS requires a user name and password, --kmip-username and --kmip-password-file",
};
const notActive: Meaning = {
  code: "KEY_NOT_ACTIVE",
  advice: "the key's state does not allow it: activate the key, or choose an active one",
};
const unusable: Meaning = {
  code: "KEY_UNUSABLE",
  advice: "the key is not an AES key for Encrypt and Decrypt: choose another",
};

const meanings: Readonly<Record<string, Meaning>> = {
  "Item Not Found": notFound,
  "Permission Denied": denied,
  "Authentication Not Successful": notAuthenticated,
  "Object Archived": notActive,
  "Illegal Operation": notActive,
  // Of KMIP 2.0.
  "0x00000028": unusable, // Illegal Object Type
  "0x00000029": unusable, // Incompatible Cryptographic Usage Mask
  "0x00000030": unusable, // Invalid Object Type
  "0x00000036": notActive, // Object Destroyed
  "0x00000037": notFound, // Object Not Found
  "0x00000039": denied, // Not Authorised
  "0x00000043": notActive, // Wrong Key Lifecycle State
};

/** Of the reasons that say nothing about a key those that say more than `other`. */
const classes: Readonly<Record<string, RefusalClass>> = {
  "Key Value Not Present": "failed-precondition",
  "Cryptographic Failure": "invalid-argument",
  "Operation Not Supported": "unimplemented",
  "Operation Canceled By Requester": "canceled",
};

/**
 * A refusal as what it means for the key `keyId`; anything else as it is.
 * @param keyId identifier or label, for the message.
 */
export function asKeyFailure(error: unknown, keyId: string): unknown {
  if (!(error instanceof KmipResultError)) return error;
  const meaning = meanings[error.reason];
  if (meaning === undefined)
    return new ProviderError("KMIP_RESULT", error.message, {
      cause: error.cause,
      details: error.details,
      refusal: { class: classes[error.reason] ?? "other", name: error.reason },
    });
  return new ProviderError(meaning.code, `key ${keyId}: ${meaning.advice} (${error.message})`, {
    cause: error,
    details: { ...error.details, keyId },
  });
}

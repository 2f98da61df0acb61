/**
 * The limits of KMS v2 held both ways: a request beyond them is refused before the KMS sees it, and a reply beyond
 * them fails here, with its reason, instead of in kube-apiserver.
 */
import {
  maxAnnotationsBytes,
  maxCiphertextBytes,
  maxKeyIdBytes,
  maxPlaintextBytes,
} from "../../encryptors/limits.ts";
import type { UnwrapRequest, Wrapped } from "../../encryptors/encryptor.ts";
import { ProviderError } from "../../errors.ts";
import type { ErrorCode } from "../../errors.ts";

/** Largest message read from the socket, in bytes: twice what the parts of a Decrypt add up to at most. */
export const maxMessageBytes = 64 * 1024;

const label = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";
const domainName = new RegExp(`^${label}(?:\\.${label})+\\.?$`);
const maxDomainNameBytes = 253;

/** @throws REQUEST_PLAINTEXT_EMPTY, REQUEST_PLAINTEXT_TOO_LONG */
export function checkPlaintext(plaintext: Uint8Array): void {
  if (plaintext.length === 0) throw new ProviderError("REQUEST_PLAINTEXT_EMPTY", "plaintext is empty");
  if (plaintext.length > maxPlaintextBytes) {
    throw tooLong("REQUEST_PLAINTEXT_TOO_LONG", "plaintext", plaintext.length, maxPlaintextBytes);
  }
}

/**
 * @throws REQUEST_CIPHERTEXT_EMPTY, REQUEST_CIPHERTEXT_TOO_LONG, REQUEST_KEY_ID_INVALID, REQUEST_ANNOTATIONS_INVALID
 */
export function checkUnwrapRequest(request: UnwrapRequest): void {
  const { length } = request.ciphertext;
  if (length === 0) throw new ProviderError("REQUEST_CIPHERTEXT_EMPTY", "ciphertext is empty");
  if (length > maxCiphertextBytes) {
    throw tooLong("REQUEST_CIPHERTEXT_TOO_LONG", "ciphertext", length, maxCiphertextBytes);
  }
  const keyIdBytes = Buffer.byteLength(request.keyId);
  if (keyIdBytes === 0) throw new ProviderError("REQUEST_KEY_ID_INVALID", "key_id is empty");
  if (keyIdBytes > maxKeyIdBytes) {
    throw tooLong("REQUEST_KEY_ID_INVALID", "key_id", keyIdBytes, maxKeyIdBytes);
  }
  const fault = annotationsFault(request.annotations);
  if (fault !== undefined) throw new ProviderError("REQUEST_ANNOTATIONS_INVALID", fault);
}

/** @throws RESPONSE_TOO_LARGE where kube-apiserver would refuse what Encrypt gave */
export function checkWrapped(wrapped: Wrapped, keyId: string): void {
  const { length } = wrapped.ciphertext;
  if (length === 0) throw new ProviderError("INTERNAL", "the encryptor gave an empty ciphertext");
  if (length > maxCiphertextBytes) {
    throw tooLong("RESPONSE_TOO_LARGE", "ciphertext", length, maxCiphertextBytes);
  }
  checkKeyId(keyId);
  const fault = annotationsFault(wrapped.annotations);
  if (fault !== undefined) throw new ProviderError("RESPONSE_TOO_LARGE", fault);
}

/** @throws RESPONSE_TOO_LARGE where the KMS's identifier cannot be a key_id */
export function checkKeyId(keyId: string): void {
  const keyIdBytes = Buffer.byteLength(keyId);
  if (keyIdBytes === 0) throw new ProviderError("INTERNAL", "the KMS gave the key an empty identifier");
  if (keyIdBytes > maxKeyIdBytes) throw tooLong("RESPONSE_TOO_LARGE", "key_id", keyIdBytes, maxKeyIdBytes);
}

/** What is wrong with annotations; undefined where nothing is. Never holds a name or a value. */
function annotationsFault(annotations: Wrapped["annotations"]): string | undefined {
  let total = 0;
  for (const [name, value] of Object.entries(annotations)) {
    if (!isDomainName(name)) return "an annotation's name is not a fully qualified domain name";
    total += name.length + value.length;
  }
  if (total <= maxAnnotationsBytes) return undefined;
  return `annotations have ${total} bytes, ${maxAnnotationsBytes} are allowed`;
}

/** A lower-case name of two labels or more, each of at most 63 characters. */
function isDomainName(name: string): boolean {
  return name.length <= maxDomainNameBytes && domainName.test(name);
}

function tooLong(code: ErrorCode, what: string, length: number, limit: number): ProviderError {
  return new ProviderError(code, `${what} has ${length} bytes, ${limit} are allowed`, {
    details: { length, limit },
  });
}

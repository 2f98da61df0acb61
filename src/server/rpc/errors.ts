/**
 * What a caller sees of a failure: a gRPC code and a fixed text with this program's own code in brackets.
 * The KMS's words, addresses and causes go to the log and never to a caller.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { NetworkError, toProviderError } from "../../errors.ts";
import type { ErrorCode, ErrorKind, ProviderError, RefusalClass } from "../../errors.ts";
import { KeyUnavailableError } from "../key/key-failure.ts";

/** What a caller gets: the gRPC code and the text. */
type Reply = readonly [code: Code, text: string];

/** By kind, for the codes that {@link codeReplies} does not list. */
const kindReplies: Readonly<Record<ErrorKind, Reply>> = {
  config: [Code.Internal, "a fault in the provider"],
  request: [Code.InvalidArgument, "the request is not valid"],
  network: [Code.Unavailable, "the KMS cannot be reached"],
  timeout: [Code.DeadlineExceeded, "the KMS did not answer in time"],
  "bad-reply": [Code.Internal, "the KMS sent a reply that is not valid"],
  refused: [Code.Internal, "the KMS refused the request"],
  key: [Code.FailedPrecondition, "the key cannot be used"],
  overload: [Code.ResourceExhausted, "too many calls at once"],
  internal: [Code.Internal, "a fault in the provider"],
};

/** By code, where its text or its gRPC code is its own. */
const codeReplies: Readonly<Partial<Record<ErrorCode, Reply>>> = {
  TLS_FILES: [Code.Unavailable, "the client certificate, its key or the CA cannot be used"],
  REQUEST_PLAINTEXT_EMPTY: [Code.InvalidArgument, "plaintext is empty"],
  REQUEST_PLAINTEXT_TOO_LONG: [Code.InvalidArgument, "plaintext is too long to be wrapped"],
  REQUEST_CIPHERTEXT_EMPTY: [Code.InvalidArgument, "ciphertext is empty"],
  REQUEST_CIPHERTEXT_TOO_SHORT: [Code.InvalidArgument, "ciphertext is shorter than an authentication tag"],
  REQUEST_CIPHERTEXT_TOO_LONG: [Code.InvalidArgument, "ciphertext is longer than 1024 bytes"],
  REQUEST_CIPHERTEXT_INVALID: [
    Code.InvalidArgument,
    "ciphertext, its annotations or key_id do not belong together",
  ],
  REQUEST_KEY_ID_INVALID: [Code.InvalidArgument, "key_id is not one that this provider gives"],
  REQUEST_ANNOTATIONS_INVALID: [Code.InvalidArgument, "annotations are not ones that this provider gives"],
  REQUEST_IV_MISSING: [Code.InvalidArgument, "the annotation with the IV is missing"],
  REQUEST_IV_LENGTH: [Code.InvalidArgument, "the IV in the annotations is not 12 bytes long"],
  REQUEST_ALG_UNSUPPORTED: [Code.InvalidArgument, "the algorithm in the annotations is not AES_GCM"],
  CANCELED: [Code.Canceled, "the caller left"],
  SHUTTING_DOWN: [Code.Unavailable, "the provider is shutting down"],
  RESPONSE_TOO_LARGE: [Code.Internal, "the result is larger than kube-apiserver takes"],
  KMIP_VERSION: [
    Code.FailedPrecondition,
    "the KMS speaks no version of KMIP with Encrypt and Decrypt (1.2 to 1.4)",
  ],
  KMIP_RESULT: [Code.Internal, "the KMS refused the operation"],
  TLS: [Code.Unavailable, "no TLS connection to the KMS can be made"],
  CLOSED: [Code.Unavailable, "the connection to the KMS was lost"],
  KEY_NOT_FOUND: [Code.FailedPrecondition, "the KMS has no such key"],
  KEY_AMBIGUOUS: [Code.FailedPrecondition, "several keys have the configured label"],
  KEY_NOT_ACTIVE: [Code.FailedPrecondition, "the key is not active"],
  KEY_UNUSABLE: [Code.FailedPrecondition, "the key is not an AES key for Encrypt and Decrypt"],
  KEY_ACCESS_DENIED: [Code.PermissionDenied, "the KMS denies access to the key"],
  KEY_SELF_TEST: [Code.FailedPrecondition, "what the KMS encrypts with the key, it does not decrypt again"],
  // Of `audit` and `recover`, which have no caller.
  ETCD_DATA: [Code.Internal, "a fault in the provider"],
  ETCD_REFUSED: [Code.Internal, "a fault in the provider"],
  KEY_CHANGED: [
    Code.FailedPrecondition,
    "the bytes of the key were exchanged under its identifier: values wrapped before can no longer be read",
  ],
};

/** A refusal that an encryptor has classified has the gRPC code of its class. */
const refusalCodes: Readonly<Record<RefusalClass, Code>> = {
  "invalid-argument": Code.InvalidArgument,
  "not-found": Code.NotFound,
  "permission-denied": Code.PermissionDenied,
  "failed-precondition": Code.FailedPrecondition,
  unimplemented: Code.Unimplemented,
  canceled: Code.Canceled,
  overloaded: Code.ResourceExhausted,
  unavailable: Code.Unavailable,
  other: Code.Internal,
};

function replyOf(error: ProviderError): Reply {
  return codeReplies[error.code] ?? kindReplies[error.kind];
}

/** The gRPC code for an error. */
export function grpcCode(error: ProviderError): Code {
  return error.refusal === undefined ? replyOf(error)[0] : refusalCodes[error.refusal.class];
}

/** What a caller may read: `ciphertext is empty [REQUEST_CIPHERTEXT_EMPTY]`. Holds none of the KMS's own words. */
export function callerMessage(error: ProviderError): string {
  return `${replyOf(error)[1]}${particularsOf(error)} [${error.code}]`;
}

/** What is known of a failure from a closed table: the name of a refusal, what happened to the certificate. */
function particularsOf(error: ProviderError): string {
  if (error.refusal !== undefined) return `: ${error.refusal.name}`;
  return error instanceof NetworkError ? certificateTexts[error.clientCertificate ?? "not suspected"] : "";
}

const certificateTexts = {
  refused: ": it refuses the client certificate",
  "may be refused": ": it may refuse the client certificate",
  "not suspected": "",
} as const;

/**
 * The error that a caller gets. A ConnectError stays as it is: it is Connect's own answer to a malformed request, or
 * an answer that a handler has chosen. Anything unknown becomes Internal, with its cause kept for the log.
 */
export function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (error instanceof KeyUnavailableError) {
    // Whatever kept a background probe from the KMS, for this caller it means: not now, try again.
    const code = error.kind === "transient" ? Code.Unavailable : grpcCode(error.failure);
    return new ConnectError(callerMessage(error.failure), code, undefined, undefined, error.failure);
  }
  const known = toProviderError(error);
  return new ConnectError(callerMessage(known), grpcCode(known), undefined, undefined, known);
}

/** What a failure's line in the log is about: the error below those that are made for callers only. */
export function causeForLog(error: unknown): unknown {
  if (error instanceof KeyUnavailableError) return error.failure;
  return error instanceof ConnectError ? (error.cause ?? error) : error;
}

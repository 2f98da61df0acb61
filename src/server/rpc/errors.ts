/**
 * What a caller sees of a failure: a gRPC code and a fixed text with this program's own code in brackets.
 * The words of the KMS, addresses and causes go to the log and never to a caller.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { KmipResultError, NetworkError, RestError, toProviderError } from "../../errors.ts";
import type { ErrorCode, ProviderError } from "../../errors.ts";
import { KeyUnavailableError } from "../key/key-failure.ts";

export {
  failureKind as troubleKind,
  KeyUnavailableError as KeyTroubleError,
  type FailureKind as TroubleKind,
} from "../key/key-failure.ts";

const internal = [Code.Internal, "a fault in the provider"] as const;
const badReply = [Code.Internal, "the KMS sent a reply that is not valid"] as const;

/** For each code, what a caller gets: the gRPC code and the text. */
const replies: Readonly<Record<ErrorCode, readonly [Code, string]>> = {
  CONFIG: internal,
  TLS_FILES: [Code.Unavailable, "the client certificate, its key or the CA cannot be used"],
  SOCKET: internal,
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
  OVERLOADED: [Code.ResourceExhausted, "too many calls at once"],
  SHUTTING_DOWN: [Code.Unavailable, "the provider is shutting down"],
  CANCELED: [Code.Canceled, "the caller left"],
  RESPONSE_TOO_LARGE: [Code.Internal, "the result is larger than kube-apiserver takes"],
  TTLV_TRUNCATED: badReply,
  TTLV_LENGTH: badReply,
  TTLV_TYPE: badReply,
  TTLV_TAG: badReply,
  TTLV_DEPTH: badReply,
  TTLV_PADDING: badReply,
  TTLV_UTF8: badReply,
  TTLV_VALUE: badReply,
  KMIP_FRAME_TOO_LARGE: badReply,
  KMIP_UNEXPECTED: badReply,
  KMIP_VERSION: [
    Code.FailedPrecondition,
    "the KMS speaks no version of KMIP with Encrypt and Decrypt (1.2 to 1.4)",
  ],
  KMIP_RESULT: [Code.Internal, "the KMS refused the operation"],
  CONNECT: [Code.Unavailable, "the KMS cannot be reached"],
  TLS: [Code.Unavailable, "no TLS connection to the KMS can be made"],
  CLOSED: [Code.Unavailable, "the connection to the KMS was lost"],
  TIMEOUT: [Code.DeadlineExceeded, "the KMS did not answer in time"],
  REST_STATUS: [Code.Internal, "the KMS refused the request"],
  REST_BODY: badReply,
  KEY_NOT_FOUND: [Code.FailedPrecondition, "the KMS has no such key"],
  KEY_AMBIGUOUS: [Code.FailedPrecondition, "several keys bear the configured label"],
  KEY_NOT_ACTIVE: [Code.FailedPrecondition, "the key is not active"],
  KEY_UNUSABLE: [Code.FailedPrecondition, "the key is not an AES key for Encrypt and Decrypt"],
  KEY_ACCESS_DENIED: [Code.PermissionDenied, "the KMS denies access to the key"],
  KEY_SELF_TEST: [Code.FailedPrecondition, "what the KMS encrypts with the key, it does not decrypt again"],
  KEY_CHANGED: [
    Code.FailedPrecondition,
    "the bytes of the key were exchanged under its identifier: values wrapped before can no longer be read",
  ],
  INTERNAL: internal,
};

/** Result Reasons of KMIP 1.4, section 9.1.3.2.29, whose gRPC code is not Internal. */
const kmipReasons: Readonly<Record<string, Code>> = {
  "Item Not Found": Code.NotFound,
  "Authentication Not Successful": Code.PermissionDenied,
  "Permission Denied": Code.PermissionDenied,
  "Object archived": Code.FailedPrecondition,
  "Object Archived": Code.FailedPrecondition,
  "Object destroyed": Code.FailedPrecondition,
  "Object Destroyed": Code.FailedPrecondition,
  "Illegal Operation": Code.FailedPrecondition,
  "Wrong Key Lifecycle State": Code.FailedPrecondition,
  "Key Value Not Present": Code.FailedPrecondition,
  "Incompatible Cryptographic Usage Mask": Code.FailedPrecondition,
  "Cryptographic Failure": Code.InvalidArgument,
  "Operation Not Supported": Code.Unimplemented,
  "Operation Canceled By Requester": Code.Canceled,
};

/** The gRPC code of an HTTP status of the REST API, by STYLE.md's table. */
function codeOfHttpStatus(status: number): Code {
  if (status === 400) return Code.InvalidArgument;
  if (status === 401 || status === 403) return Code.PermissionDenied;
  if (status === 404) return Code.NotFound;
  if (status === 429) return Code.ResourceExhausted;
  return status >= 500 ? Code.Unavailable : Code.Internal;
}

/** The gRPC code for an error. */
export function grpcCode(error: ProviderError): Code {
  if (error instanceof KmipResultError) return kmipReasons[error.reason] ?? Code.Internal;
  if (error instanceof RestError && error.code === "REST_STATUS") return codeOfHttpStatus(error.status);
  return replies[error.code][0];
}

/** What may be told to a caller: `ciphertext is empty [REQUEST_CIPHERTEXT_EMPTY]`. Holds no word of the KMS's. */
export function callerMessage(error: ProviderError): string {
  const [, text] = replies[error.code];
  return `${text}${particularsOf(error)} [${error.code}]`;
}

/** What is told of a failure from a closed table: a Result Reason's name, an HTTP status, what the certificate did. */
function particularsOf(error: ProviderError): string {
  if (error instanceof NetworkError) return certificateTexts[error.clientCertificate ?? "not suspected"];
  if (error instanceof KmipResultError) return `: ${error.reason}`;
  if (error instanceof RestError && error.code === "REST_STATUS") return ` with status ${error.status}`;
  return "";
}

const certificateTexts = {
  refused: ": it refuses the client certificate",
  "may be refused": ": it may refuse the client certificate",
  "not suspected": "",
} as const;

/**
 * The error that a caller gets. A ConnectError stays as it is, for it is Connect's own answer to a malformed
 * request; anything unknown becomes Internal with its cause kept for the log.
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

/** Whether an error says that the KMS was out of reach, rather than that it answered. */
export function isOutOfReach(error: ProviderError): boolean {
  return (
    error.code === "CONNECT" || error.code === "TLS" || error.code === "CLOSED" || error.code === "TIMEOUT"
  );
}

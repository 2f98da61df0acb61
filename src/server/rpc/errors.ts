/**
 * What a caller sees of a failure: a gRPC code and a fixed text with this program's own code in brackets.
 * The words of the KMS, addresses and causes go to the log and never to a caller. Also decides which
 * trouble is final (DESIGN.md, decision 3): the key itself is dead, rather than out of reach.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { KmipResultError, NetworkError, RestError, toProviderError } from "../../errors.ts";
import type { ErrorCode, ProviderError } from "../../errors.ts";

/** Of what kind a trouble is: `passing` (out of reach, slow, overloaded) or `final` (the key must not be used). */
export type TroubleKind = "passing" | "final";

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
  // Of `audit` and `recover`, which have no caller.
  ETCD_DATA: internal,
  ETCD_REFUSED: internal,
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

/** Codes that say that the key must not be used any more. */
const finalCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "KEY_NOT_FOUND",
  "KEY_AMBIGUOUS",
  "KEY_NOT_ACTIVE",
  "KEY_UNUSABLE",
  "KEY_ACCESS_DENIED",
  "KEY_SELF_TEST",
  "RESPONSE_TOO_LARGE",
]);

/** gRPC codes of a refusal by the KMS that make it final: not there, not allowed, not in a state to be used. */
const finalRefusals: ReadonlySet<Code> = new Set([
  Code.NotFound,
  Code.PermissionDenied,
  Code.FailedPrecondition,
]);

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

/** The key cannot be used now: thrown to callers of Status and Encrypt, made by key-status.ts. */
export class KeyTroubleError extends Error {
  override readonly name = "KeyTroubleError";
  readonly trouble: ProviderError;
  readonly kind: TroubleKind;

  constructor(trouble: ProviderError, kind: TroubleKind) {
    super(trouble.message, { cause: trouble });
    this.trouble = trouble;
    this.kind = kind;
  }
}

/**
 * The error that a caller gets. A ConnectError stays as it is, for it is Connect's own answer to a malformed
 * request; anything unknown becomes Internal with its cause kept for the log.
 */
export function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (error instanceof KeyTroubleError) {
    // Whatever kept a background probe from the KMS, for this caller it means: not now, try again.
    const code = error.kind === "passing" ? Code.Unavailable : grpcCode(error.trouble);
    return new ConnectError(callerMessage(error.trouble), code, undefined, undefined, error.trouble);
  }
  const known = toProviderError(error);
  return new ConnectError(callerMessage(known), grpcCode(known), undefined, undefined, known);
}

/** Which kind of trouble an error of the KMS is. What is not known to be final is passing: the key may be well. */
export function troubleKind(error: ProviderError): TroubleKind {
  if (finalCodes.has(error.code)) return "final";
  const isRefusal = error instanceof KmipResultError || error.code === "REST_STATUS";
  return isRefusal && finalRefusals.has(grpcCode(error)) ? "final" : "passing";
}

/** Whether an error says that the KMS was out of reach, rather than that it answered. */
export function isOutOfReach(error: ProviderError): boolean {
  return (
    error.code === "CONNECT" || error.code === "TLS" || error.code === "CLOSED" || error.code === "TIMEOUT"
  );
}

/**
 * The errors of the whole program: one base class, a code from a closed union, whether trying again can help,
 * and a `cause` that is logged and never sent. server/rpc/errors.ts decides which gRPC code a caller sees.
 */

/**
 * What a failure is about, whatever its code. All decisions are made on this, never on lists of codes:
 * `config` files and flags; `request` what the client sent, or that it left; `network` a connection could not be made or
 * was lost; `timeout` no answer in time; `bad-reply` bytes that are no valid reply; `refused` a valid reply that says no;
 * `key` the state of the key, or the rights to it; `overload` no capacity, or the end of the process; `internal` a
 * fault of this program.
 */
export type ErrorKind =
  | "config"
  | "request"
  | "network"
  | "timeout"
  | "bad-reply"
  | "refused"
  | "key"
  | "overload"
  | "internal";

/** Every code that this program gives to a failure, with its kind. Logs, metrics and docs/troubleshooting.md use them. */
export const errorKinds = {
  CONFIG: "config",
  TLS_FILES: "config",
  SOCKET: "config",
  REQUEST_PLAINTEXT_EMPTY: "request",
  REQUEST_PLAINTEXT_TOO_LONG: "request",
  REQUEST_CIPHERTEXT_EMPTY: "request",
  REQUEST_CIPHERTEXT_TOO_SHORT: "request",
  REQUEST_CIPHERTEXT_TOO_LONG: "request",
  REQUEST_CIPHERTEXT_INVALID: "request",
  REQUEST_KEY_ID_INVALID: "request",
  REQUEST_ANNOTATIONS_INVALID: "request",
  REQUEST_IV_MISSING: "request",
  REQUEST_IV_LENGTH: "request",
  REQUEST_ALG_UNSUPPORTED: "request",
  CANCELED: "request",
  OVERLOADED: "overload",
  SHUTTING_DOWN: "overload",
  /** A limit of kube-apiserver's that the answer would break. */
  RESPONSE_TOO_LARGE: "bad-reply",
  TTLV_TRUNCATED: "bad-reply",
  TTLV_LENGTH: "bad-reply",
  TTLV_TYPE: "bad-reply",
  TTLV_TAG: "bad-reply",
  TTLV_DEPTH: "bad-reply",
  TTLV_PADDING: "bad-reply",
  TTLV_UTF8: "bad-reply",
  TTLV_VALUE: "bad-reply",
  KMIP_FRAME_TOO_LARGE: "bad-reply",
  KMIP_UNEXPECTED: "bad-reply",
  KMIP_VERSION: "refused",
  KMIP_RESULT: "refused",
  CONNECT: "network",
  TLS: "network",
  CLOSED: "network",
  TIMEOUT: "timeout",
  REST_STATUS: "refused",
  REST_BODY: "bad-reply",
  KEY_NOT_FOUND: "key",
  KEY_AMBIGUOUS: "key",
  KEY_NOT_ACTIVE: "key",
  KEY_UNUSABLE: "key",
  KEY_ACCESS_DENIED: "key",
  KEY_SELF_TEST: "key",
  KEY_CHANGED: "key",
  /** A snapshot, a database or a value of etcd that cannot be read, or is not valid. */
  ETCD_DATA: "bad-reply",
  ETCD_REFUSED: "refused",
  INTERNAL: "internal",
} as const satisfies Readonly<Record<string, ErrorKind>>;

/** One of the codes in {@link errorKinds}. */
export type ErrorCode = keyof typeof errorKinds;

/** Facts about a failure for the log: flat, and never a plaintext, key, PEM or ciphertext. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | undefined>>;

/** What a refusal by the KMS is about, in the words of no protocol; `other` where the protocol does not say. */
export type RefusalClass =
  | "invalid-argument"
  | "not-found"
  | "permission-denied"
  | "failed-precondition"
  | "unimplemented"
  | "canceled"
  | "overloaded"
  | "unavailable"
  | "other";

/** A refusal by the KMS, translated by its encryptor: all that server/ knows of a Result Reason or an HTTP status. */
export interface Refusal {
  readonly class: RefusalClass;
  /** The protocol's own name for it, from a closed list, fit for a caller: `Item Not Found`, `status 404`. */
  readonly name: string;
}

/** How a {@link ProviderError} is made. */
export interface ProviderErrorOptions {
  /** Whether the same request, sent again, could succeed (network, time-out, 429, 5xx). Default: false. */
  readonly retryable?: boolean;
  /** What caused it. Logged, never sent to a caller. */
  readonly cause?: unknown;
  /** Facts for the log. */
  readonly details?: ErrorDetails;
  /** What the KMS refused. */
  readonly refusal?: Refusal;
}

/** The base of every error that this program throws on purpose. `message` may be logged; see `callerMessage`. */
export class ProviderError extends Error {
  override readonly name: string = "ProviderError";
  readonly code: ErrorCode;
  readonly retryable: boolean;
  #details: ErrorDetails;
  /** Set by an encryptor on KMIP_RESULT and REST_STATUS; undefined elsewhere. */
  readonly refusal: Refusal | undefined;

  constructor(code: ErrorCode, message: string, options: ProviderErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.#details = options.details ?? {};
    this.refusal = options.refusal;
  }

  /** Facts for the log. */
  get details(): ErrorDetails {
    return this.#details;
  }

  /** Notes the server that it is about, `host:port`, where the details name none. @returns itself */
  of(endpoint: string): this {
    if (this.#details["endpoint"] === undefined) this.#details = { ...this.#details, endpoint };
    return this;
  }

  /** What the failure is about. */
  get kind(): ErrorKind {
    return errorKinds[this.code];
  }
}

/** Bytes that are not well-formed TTLV. */
export class TtlvError extends ProviderError {
  override readonly name = "TtlvError";
  /** Byte offset in the message at which the fault was found. */
  readonly offset: number;
  /** Path to the item, as `RequestMessage/BatchItem[0]/Operation`; empty at the root. */
  readonly path: string;

  constructor(
    code: Extract<ErrorCode, `TTLV_${string}`>,
    message: string,
    where: { readonly offset: number; readonly path: string },
  ) {
    super(code, `${message} (offset ${where.offset}${where.path === "" ? "" : `, ${where.path}`})`, {
      details: { ...where },
    });
    this.offset = where.offset;
    this.path = where.path;
  }
}

/** A KMIP server answered, and its answer was a failure of the operation. */
export class KmipResultError extends ProviderError {
  override readonly name = "KmipResultError";
  /** The operation's specification name, as `Encrypt`. */
  readonly operation: string;
  /** The Result Reason's specification name, as `Item Not Found`, or its hexadecimal number where unknown. */
  readonly reason: string;
  /** The Result Message of the server, cut at 256 characters; empty where it sent none. */
  readonly resultMessage: string;

  constructor(result: {
    readonly operation: string;
    readonly reason: string;
    readonly resultMessage: string;
  }) {
    const said = result.resultMessage === "" ? "" : `: ${result.resultMessage}`;
    super("KMIP_RESULT", `${result.operation} refused by the KMIP server: ${result.reason}${said}`, {
      details: { operation: result.operation, reason: result.reason },
    });
    this.operation = result.operation;
    this.reason = result.reason;
    this.resultMessage = result.resultMessage;
  }
}

/** What is known of the server's part in a lost connection: it refused the client certificate, or may have. */
export type CertificateSuspicion = "refused" | "may be refused";

/** A connection could not be made, or was lost. */
export class NetworkError extends ProviderError {
  override readonly name = "NetworkError";
  /** Whether any byte of the request may have reached the server. */
  readonly sent: boolean;
  /** `host:port` of the server. */
  readonly endpoint: string;
  /** Whether the client certificate is the likely cause; undefined where nothing speaks for that. */
  readonly clientCertificate: CertificateSuspicion | undefined;

  constructor(
    code: "CONNECT" | "TLS" | "CLOSED",
    message: string,
    options: {
      readonly endpoint: string;
      readonly sent: boolean;
      readonly cause?: unknown;
      readonly clientCertificate?: CertificateSuspicion | undefined;
    },
  ) {
    super(code, message, {
      retryable: true,
      cause: options.cause,
      details: { endpoint: options.endpoint, sent: options.sent },
    });
    this.sent = options.sent;
    this.endpoint = options.endpoint;
    this.clientCertificate = options.clientCertificate;
  }
}

/** The caller's time was over before the KMS had answered. */
export class TimeoutError extends ProviderError {
  override readonly name = "TimeoutError";
  /** What was being waited for. */
  readonly phase: "connect" | "checkout" | "response" | "retry";

  constructor(phase: TimeoutError["phase"], message: string, options: ProviderErrorOptions = {}) {
    super("TIMEOUT", message, {
      ...options,
      retryable: true,
      details: { ...options.details, phase },
    });
    this.phase = phase;
  }
}

/** The REST API answered with an error, or with something that is not an answer of its. */
export class RestError extends ProviderError {
  override readonly name = "RestError";
  /** The HTTP status; 0 where the reply was no HTTP. */
  readonly status: number;
  /** `request_id` of the error body, or of the reply's header; undefined where there was none. */
  readonly requestId: string | undefined;

  constructor(
    code: "REST_STATUS" | "REST_BODY",
    message: string,
    options: ProviderErrorOptions & { readonly status: number; readonly requestId?: string | undefined },
  ) {
    super(code, message, {
      ...options,
      details: { ...options.details, status: options.status || undefined, requestId: options.requestId },
    });
    this.status = options.status;
    this.requestId = options.requestId;
  }
}

/** Gives back a {@link ProviderError} as it is; wraps anything else as INTERNAL, with the original as its cause. */
export function toProviderError(error: unknown): ProviderError {
  if (error instanceof ProviderError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ProviderError("INTERNAL", `unexpected failure: ${message}`, { cause: error });
}

/**
 * What server/ knows of a KMS: resolve the key, wrap, unwrap. Every encryptor passes test/contract.
 * An encryptor holds connections, never an opinion about health or about which key is current: that is
 * server/key-status.ts, which is told here what the KMS says and decides.
 */
import type { ErrorCode } from "../errors.ts";
import type { TlsMaterial } from "../net/tls.ts";

/** What bounds a call. */
export interface CallContext {
  /** Aborts when the caller leaves or its time is over. Everything below stops on it. */
  readonly signal: AbortSignal;
  /** When the caller's time is over, in milliseconds of `performance.now()`. A retry starts only before it. */
  readonly deadline: number;
  /** The apiserver's uid of the call, for the log. */
  readonly uid?: string;
}

/** A key-encryption key that the KMS holds, checked to be usable: AES, active, for Encrypt and Decrypt. */
export interface KeyInfo {
  /** The KMS's own identifier: key_id on the socket. */
  readonly keyId: string;
  /** Its name, where the KMS reports one. */
  readonly name?: string;
  /** Its length in bits, where the KMS reports it. */
  readonly lengthBits?: number;
  /** When its use begins and ends, where the KMS reports any. */
  readonly dates?: KeyDates;
}

/** When the use of a key begins and ends, by the KMS's attributes. Those that it does not report are absent. */
export interface KeyDates {
  /** Process Start Date: no Decrypt before. */
  readonly processStart?: Date;
  /** Protect Stop Date: no Encrypt after; Decrypt goes on. */
  readonly protectStop?: Date;
  /** Deactivation Date: the key is deactivated then. */
  readonly deactivation?: Date;
}

/** What Encrypt gives, in the form that kube-apiserver stores. */
export interface Wrapped {
  /** 1 to 1024 bytes. */
  readonly ciphertext: Uint8Array;
  /** Annotation name (a DNS name) to bytes. */
  readonly annotations: Readonly<Record<string, Uint8Array>>;
}

/** What Decrypt is given: what an earlier Encrypt gave, of this program or of the Go original. */
export interface UnwrapRequest extends Wrapped {
  /** The key_id that came with it; the current key does not matter. */
  readonly keyId: string;
}

/** A driver for one kind of KMS. All methods may run concurrently; all throw ProviderError only. */
export interface Encryptor {
  /** `kmip` or `rest`; a label of metrics. */
  readonly protocol: "kmip" | "rest";

  /**
   * Finds the configured key (by id, or by label) and checks its attributes, in as few messages as the KMS
   * allows. Never asks for key material.
   * @throws KEY_NOT_FOUND, KEY_AMBIGUOUS (ids in `details`), KEY_NOT_ACTIVE, KEY_UNUSABLE, KEY_ACCESS_DENIED;
   *   KMIP_VERSION where the server can't Encrypt; network, time and protocol errors.
   */
  resolveKey(context: CallContext): Promise<KeyInfo>;

  /**
   * Wraps `plaintext` under the key `keyId`. Repeatable: every try takes a fresh IV.
   * @throws KMIP_RESULT or REST_STATUS where the KMS refuses; RESPONSE_TOO_LARGE over 1024 bytes; network, time.
   */
  encrypt(plaintext: Uint8Array, keyId: string, context: CallContext): Promise<Wrapped>;

  /**
   * Unwraps.
   * @throws REQUEST_* before anything is sent where the request can't be right; REQUEST_CIPHERTEXT_INVALID where
   *   the KMS finds it tampered with; KEY_NOT_FOUND where the KMS does not know the key; network, time.
   */
  decrypt(request: UnwrapRequest, context: CallContext): Promise<Uint8Array>;

  /**
   * Takes a new certificate, key and CA: calls in flight finish on the old connections, which then close; new
   * calls use the new. Before the first, every call throws TLS_FILES.
   */
  setTlsMaterial(material: TlsMaterial): void;

  /** The connections to the KMS, now. */
  connections(): ConnectionCounts;

  /** Ends: what is in flight fails with SHUTTING_DOWN, every socket is closed when this resolves. Idempotent. */
  close(): Promise<void>;
}

/**
 * What an encryptor reports, for log and metrics. Holds no secret and no payload. Called
 * synchronously; must not throw.
 */
export type KmsEvent =
  | {
      /** One request and its reply, or its failure. */
      readonly type: "exchange";
      /** KMIP operation or operations (`Locate+GetAttributes`), or the REST call's name (`encrypt`). */
      readonly operation: string;
      readonly endpoint: string;
      readonly outcome: "ok" | ErrorCode;
      readonly durationMs: number;
      readonly requestBytes: number;
      readonly replyBytes: number;
      /** REST's request_id, or the failure's own words. */
      readonly requestId?: string;
      readonly message?: string;
      readonly uid?: string;
    }
  | {
      /** A connection changed; with the counts after the change. */
      readonly type: "connection";
      readonly change: "opened" | "closed" | "failed";
      readonly endpoint: string;
      readonly counts: ConnectionCounts;
      /** Why, in one line; for `opened` what was agreed (`TLSv1.3, KMIP 1.4`). */
      readonly message: string;
      readonly durationMs?: number;
    }
  | {
      /** An endpoint was found to be reachable or not, or another became the one in use. */
      readonly type: "endpoint";
      readonly endpoint: string;
      readonly up: boolean;
      readonly inUse: boolean;
      readonly message?: string;
    }
  | {
      /** A message as a redacted dump; the text is made only when asked for. */
      readonly type: "message";
      readonly direction: "sent" | "received";
      readonly endpoint: string;
      readonly dump: () => string;
    };

/** How many connections there are to the KMS, by what they do. */
export interface ConnectionCounts {
  readonly idle: number;
  readonly busy: number;
  readonly connecting: number;
}

/** Receives {@link KmsEvent}s. */
export type KmsObserver = (event: KmsEvent) => void;

/** Which key: exactly one of the two. */
export type KeySelector = { readonly id: string } | { readonly label: string };

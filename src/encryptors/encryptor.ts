/**
 * What server/ knows of a KMS: resolve the key, wrap, unwrap. Every encryptor passes test/contract.
 * An encryptor holds connections, never an opinion about health or about which key is current: that is
 * server/key-status.ts, which is told here what the KMS says and decides.
 */
import type { TlsMaterial } from "../net/tls.ts";
import type { CallContext } from "../upstream/context.ts";
import type { ConnectionCounts } from "../upstream/events.ts";

export type { CallContext } from "../upstream/context.ts";
export type { ConnectionCounts, KmsEvent, Observer as KmsObserver } from "../upstream/events.ts";

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
   * Wraps `plaintext` under the key `keyId`. Repeatable: every try takes a fresh IV. That of createEncryptor proves its
   * result by a Decrypt (prove-encrypts.ts); a driver by itself does not.
   * @throws KMIP_RESULT or REST_STATUS where the KMS refuses; RESPONSE_TOO_LARGE over 1024 bytes; network, time;
   *   KEY_SELF_TEST where the proof fails.
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

/** Which key: exactly one of the two. */
export type KeySelector = { readonly id: string } | { readonly label: string };

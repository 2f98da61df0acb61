/**
 * An Encryptor without a KMS, for the tests of server/: real AES-256-GCM with node:crypto, several keys, and
 * switches for what a KMS may do. The KMS itself is not the subject there.
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type {
  CallContext,
  Encryptor,
  KeyDates,
  KeyInfo,
  UnwrapRequest,
  Wrapped,
} from "../../src/encryptors/encryptor.ts";
import { ProviderError } from "../../src/errors.ts";

const ivName = "iv.okms.ovh.com";
const tagBytes = 16;

/** An {@link Encryptor} whose behaviour can be changed while it is in use. */
export interface LocalEncryptor extends Encryptor {
  /** The key that resolveKey finds. */
  keyId: string;
  /** What the methods throw; undefined: nothing. */
  resolveError: Error | undefined;
  encryptError: Error | undefined;
  decryptError: Error | undefined;
  /** Thrown by encrypt for this key alone. */
  readonly keyErrors: Map<string, Error>;
  /** Time that each call takes, in ms. */
  delayMs: number;
  /** Never answer, and take no notice of the signal. */
  hangs: boolean;
  /** Decrypt gives other bytes than were wrapped. */
  garbles: boolean;
  /** What resolveKey tells of the key's dates. */
  dates: KeyDates | undefined;
  /** Thrown by decrypt for this ciphertext alone. */
  readonly ciphertextErrors: Map<string, Error>;
  /** Puts other bytes under a key's identifier: random ones, or `material`. Gives the former. */
  exchange(keyId: string, material?: Buffer): Buffer;
  readonly calls: { resolveKey: number; encrypt: number; decrypt: number };
  readonly signals: AbortSignal[];
}

/** Makes one with the key `key-1`. */
export function createLocalEncryptor(): LocalEncryptor {
  const keys = new Map<string, Buffer>();

  function material(keyId: string): Buffer {
    const key = keys.get(keyId) ?? randomBytes(32);
    keys.set(keyId, key);
    return key;
  }

  async function enter(context: CallContext, error: Error | undefined): Promise<void> {
    self.signals.push(context.signal);
    if (self.hangs) await new Promise(() => undefined);
    if (self.delayMs > 0) {
      await sleep(self.delayMs, undefined, { signal: context.signal }).catch(() => {
        throw context.signal.reason;
      });
    }
    if (error !== undefined) throw error;
  }

  const self: LocalEncryptor = {
    protocol: "kmip",
    keyId: "key-1",
    resolveError: undefined,
    encryptError: undefined,
    decryptError: undefined,
    keyErrors: new Map(),
    delayMs: 0,
    hangs: false,
    garbles: false,
    dates: undefined,
    ciphertextErrors: new Map(),
    calls: { resolveKey: 0, encrypt: 0, decrypt: 0 },
    signals: [],

    async resolveKey(context): Promise<KeyInfo> {
      self.calls.resolveKey += 1;
      await enter(context, self.resolveError);
      return { keyId: self.keyId, lengthBits: 256, ...(self.dates !== undefined && { dates: self.dates }) };
    },

    exchange(keyId, next = randomBytes(32)) {
      const former = material(keyId);
      keys.set(keyId, next);
      return former;
    },

    async encrypt(plaintext, keyId, context): Promise<Wrapped> {
      self.calls.encrypt += 1;
      await enter(context, self.encryptError ?? self.keyErrors.get(keyId));
      const iv = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", material(keyId), iv);
      const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
      return { ciphertext, annotations: { [ivName]: iv } };
    },

    async decrypt(request: UnwrapRequest, context): Promise<Uint8Array> {
      self.calls.decrypt += 1;
      const { ciphertext, annotations, keyId } = request;
      const own = self.ciphertextErrors.get(Buffer.from(ciphertext).toString("hex"));
      await enter(context, self.decryptError ?? own);
      if (!keys.has(keyId)) throw new ProviderError("KEY_NOT_FOUND", `no key ${keyId}`);
      if (ciphertext.length <= tagBytes) throw new ProviderError("REQUEST_CIPHERTEXT_TOO_SHORT", "too short");
      const iv = annotations[ivName];
      if (iv === undefined) throw new ProviderError("REQUEST_IV_MISSING", "no IV");
      const decipher = createDecipheriv("aes-256-gcm", material(keyId), iv, { authTagLength: tagBytes });
      decipher.setAuthTag(ciphertext.subarray(-tagBytes));
      const plaintext = decipher.update(ciphertext.subarray(0, -tagBytes));
      try {
        decipher.final();
      } catch (error) {
        throw new ProviderError("REQUEST_CIPHERTEXT_INVALID", "tampered with", { cause: error });
      }
      return self.garbles ? plaintext.map((byte) => byte ^ 1) : plaintext;
    },

    setTlsMaterial() {},
    connections: () => ({ idle: 0, busy: 0, connecting: 0 }),
    async close() {},
  };
  return self;
}

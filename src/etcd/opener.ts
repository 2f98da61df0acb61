/**
 * Opens values: one Decrypt for each DEK source, whatever the number of values under it, and for each value its plaintext
 * or the reason why it cannot be read. Messages hold nothing of a value.
 */
import type { EncryptedObject } from "../../gen/k8s/v1/storage_pb.ts";
import { ProviderError, toProviderError } from "../errors.ts";
import { quote } from "../text/quote.ts";
import { decryptValue, dekSourceType, type DekSourceType, isDekSource } from "./decrypt-value.ts";
import { type Envelope, parseEnvelope } from "./envelope.ts";
import type { Entry } from "./source.ts";
import { nameInside } from "./stored-object.ts";

/** What a Decrypt of KMS v2 is given. */
export interface WrappedDekSource {
  readonly ciphertext: Uint8Array;
  readonly keyId: string;
  readonly annotations: Readonly<Record<string, Uint8Array>>;
}

/** Asks the KMS, itself or by way of a plugin. @throws ProviderError */
export type Unwrap = (source: WrappedDekSource) => Promise<Uint8Array>;

/**
 * Why a value cannot be read: `key-unknown` and `kms-refuses` are the KMS's word on the DEK source; `tag-wrong`, `moved`
 * (it was written under another key of etcd), `wrong-type` (the DEK source is not of the type that it says) and `cut` are
 * damage; `no-kms` that it is under KMS v2 and none was given; `other-provider` that this program has no key for it.
 */
export type UnreadableReason =
  | "key-unknown"
  | "kms-refuses"
  | "tag-wrong"
  | "moved"
  | "wrong-type"
  | "cut"
  | "not-understood"
  | "no-kms"
  | "other-provider";

/** A value that cannot be read. */
export interface Unreadable {
  readonly reason: UnreadableReason;
  /** In one line. */
  readonly message: string;
}

/** What came of opening a value. */
export type Opened = { readonly plaintext: Uint8Array } | Unreadable;

/** Opens values. */
export interface Opener {
  /** @throws ProviderError where the KMS cannot be asked: that says nothing about the value */
  open(entry: Pick<Entry, "key" | "value">): Promise<Opened>;
  /** How many DEK sources the KMS has been asked for. */
  decryptCalls(): number;
  /** Overwrites every DEK source. */
  close(): void;
}

type Source = { readonly bytes: Uint8Array } | Unreadable;
type KmsEnvelope = Extract<Envelope, { readonly kind: "kms-v2" }>;

/** Makes an opener. @param unwrap undefined: only what is in plaintext can be opened */
export function createOpener(unwrap: Unwrap | undefined): Opener {
  const sources = new Map<string, Promise<Source>>();
  let calls = 0;
  const sourceOf = (envelope: KmsEnvelope, ask: Unwrap): Promise<Source> => {
    const known = sources.get(envelope.dekSource);
    if (known !== undefined) return known;
    const asked = unwrapSource(envelope.object, ask);
    calls += 1;
    sources.set(envelope.dekSource, asked);
    return asked;
  };
  return {
    async open({ key, value }) {
      const envelope = parseEnvelope(value);
      switch (envelope.kind) {
        case "plaintext":
          return { plaintext: value };
        case "unknown":
          return {
            reason: /\bcut\b/.test(envelope.reason) ? "cut" : "not-understood",
            message: envelope.reason,
          };
        case "kms-v2": {
          if (unwrap === undefined) return noKms;
          const source = await sourceOf(envelope, unwrap);
          return "bytes" in source ? openWith(envelope.object, source.bytes, key) : source;
        }
        default:
          return {
            reason: "other-provider",
            message: `it is encrypted by ${envelope.kind}, not by a KMS v2 plugin`,
          };
      }
    },
    decryptCalls: () => calls,
    close() {
      for (const source of sources.values())
        source.then(
          (found) => void ("bytes" in found && found.bytes.fill(0)),
          () => undefined,
        );
      sources.clear();
    },
  };
}

const noKms: Unreadable = {
  reason: "no-kms",
  message: "it is encrypted by a KMS v2 plugin: give the KMS flags of serve, or --sock of a running plugin",
};

async function unwrapSource(object: EncryptedObject, unwrap: Unwrap): Promise<Source> {
  const { encryptedDekSource: ciphertext, keyId, annotations } = object;
  let bytes: Uint8Array;
  try {
    bytes = await unwrap({ ciphertext, keyId, annotations });
  } catch (error) {
    return refusalOf(toProviderError(error), keyId);
  }
  if (isDekSource(bytes)) return { bytes };
  return { reason: "kms-refuses", message: `the KMS gives ${bytes.length} bytes for its DEK source, not 32` };
}

/** What the KMS says of this source. Anything else says nothing about the value, and is thrown. */
function refusalOf(error: ProviderError, keyId: string): Unreadable {
  if (error.code === "KEY_NOT_FOUND")
    return { reason: "key-unknown", message: `the KMS does not know its key ${quote(keyId)}` };
  const isAboutSource = error.kind === "request" || error.kind === "key" || error.kind === "refused";
  if (!isAboutSource || error.retryable) throw error;
  return {
    reason: "kms-refuses",
    message: `the KMS refuses to decrypt its DEK source under key ${quote(keyId)}: ${error.message} [${error.code}]`,
  };
}

function openWith(object: EncryptedObject, source: Uint8Array, key: string): Opened {
  const type = dekSourceType(object);
  if (type === undefined)
    return {
      reason: "not-understood",
      message: `its DEK source is of unknown type ${object.encryptedDekSourceType}`,
    };
  const decrypted = decryptValue(object.encryptedData, type, source, key);
  if (decrypted.outcome === "ok") return { plaintext: decrypted.plaintext };
  const damage = explainDamage(object, type, source, key, decrypted);
  if (decrypted.outcome === "tag-wrong") decrypted.unauthenticated.fill(0);
  return damage;
}

/** Tries what may have happened to the value; each is proved by a tag that is right. */
function explainDamage(
  object: EncryptedObject,
  type: DekSourceType,
  source: Uint8Array,
  key: string,
  decrypted: Exclude<ReturnType<typeof decryptValue>, { readonly outcome: "ok" }>,
): Unreadable {
  const opens = (asType: DekSourceType, asKey: string): boolean => {
    const again = decryptValue(object.encryptedData, asType, source, asKey);
    if (again.outcome === "ok") again.plaintext.fill(0);
    return again.outcome === "ok";
  };
  const otherType = type === "seed" ? "key" : "seed";
  if (opens(otherType, key))
    return {
      reason: "wrong-type",
      message: `its DEK source is a ${otherType}, and the value says that it is a ${type}`,
    };
  if (decrypted.outcome === "cut")
    return { reason: "cut", message: "it is cut: shorter than a nonce and a tag" };
  const original = originalKey(key, decrypted.unauthenticated);
  if (original !== undefined && opens(type, original))
    return { reason: "moved", message: `it was written under another name: ${original}` };
  return {
    reason: "tag-wrong",
    message: "its authentication tag is wrong: the value or its name was changed",
  };
}

/** The etcd key of the object that the plaintext says it is; undefined where it says what the key says. */
function originalKey(key: string, plaintext: Uint8Array): string | undefined {
  const { namespace, name } = nameInside(plaintext);
  if (name === "" || !/^[\w.:-]+$/.test(name) || !/^[\w.-]*$/.test(namespace)) return undefined;
  const parts = key.split("/");
  const resource = parts.slice(0, namespace === "" ? -1 : -2);
  const original = [...resource, ...(namespace === "" ? [] : [namespace]), name].join("/");
  return original === key ? undefined : original;
}

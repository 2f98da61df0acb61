/**
 * What a value in etcd says of itself: under which provider it is encrypted, and, with KMS v2, under which key and with
 * which DEK source; or that it is in plaintext. Prefixes as in k8s.io/apiserver, server/options/encryptionconfig.
 */
import { createHash } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { EncryptedObjectSchema, type EncryptedObject } from "../../gen/k8s/v1/storage_pb.ts";

/** The providers that need a key of the EncryptionConfiguration, and no KMS. Their name is that of the key. */
export type LocalProvider = "aescbc" | "aesgcm" | "secretbox";

/** What a value is. */
export type Envelope =
  | {
      readonly kind: "kms-v2";
      readonly provider: string;
      readonly object: EncryptedObject;
      readonly dekSource: string;
    }
  | { readonly kind: "kms-v1" | LocalProvider; readonly provider: string }
  /** In plaintext: built-in kinds as protobuf, custom resources as JSON. */
  | { readonly kind: "plaintext"; readonly encoding: "protobuf" | "json" }
  /** `reason` holds nothing of the value. */
  | { readonly kind: "unknown"; readonly reason: string };

/** The reason of a value that may be whole, under a provider that this program has never heard of. */
export const unknownProvider = "it is encrypted by a provider of an unknown kind";

const encrypted = "k8s:enc:";
const protobuf = "k8s\0";
const jsonStart = 0x7b;
/** Longer than any name that kube-apiserver takes. */
const mostPrefixBytes = 1024;
const kinds: Readonly<Record<string, "kms-v2" | "kms-v1" | LocalProvider>> = {
  "kms:v2": "kms-v2",
  "kms:v1": "kms-v1",
  "aescbc:v1": "aescbc",
  "aesgcm:v1": "aesgcm",
  "secretbox:v1": "secretbox",
};
/** kube-apiserver's own limits (envelope/kmsv2/envelope.go). */
const limits = { dekSource: 1024, keyId: 1024, annotations: 32 * 1024 } as const;

/** Reads what a value says of itself. Never throws. */
export function parseEnvelope(value: Uint8Array): Envelope {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.length);
  if (bytes.length === 0) return { kind: "unknown", reason: "it is empty" };
  if (startsWith(bytes, protobuf)) return { kind: "plaintext", encoding: "protobuf" };
  if (startsWith(bytes, encrypted)) return parseEncrypted(bytes);
  if (bytes[0] === jsonStart) return { kind: "plaintext", encoding: "json" };
  return { kind: "unknown", reason: "it is neither an object nor encrypted by a provider of Kubernetes" };
}

function startsWith(bytes: Buffer, text: string): boolean {
  return bytes.length >= text.length && bytes.toString("latin1", 0, text.length) === text;
}

/** `k8s:enc:KIND:VERSION:NAME:` and what the provider made. */
function parseEncrypted(bytes: Buffer): Envelope {
  const head = bytes.subarray(encrypted.length, mostPrefixBytes);
  const colons: number[] = [];
  for (let at = head.indexOf(":"); at !== -1 && colons.length < 3; at = head.indexOf(":", at + 1))
    colons.push(at);
  const [, second, third] = colons;
  if (second === undefined || third === undefined)
    return { kind: "unknown", reason: "it is cut in its prefix" };
  const kind = kinds[head.toString("latin1", 0, second)];
  if (kind === undefined) return { kind: "unknown", reason: unknownProvider };
  const provider = head.toString("utf8", second + 1, third);
  const body = bytes.subarray(encrypted.length + third + 1);
  if (body.length === 0) return { kind: "unknown", reason: "it is cut behind its prefix" };
  return kind === "kms-v2" ? parseKmsV2(provider, body) : { kind, provider };
}

function parseKmsV2(provider: string, body: Buffer): Envelope {
  let object: EncryptedObject;
  try {
    object = fromBinary(EncryptedObjectSchema, body);
  } catch {
    return {
      kind: "unknown",
      reason: `it is cut or damaged: no EncryptedObject behind the prefix of ${provider}`,
    };
  }
  const reason = wrongIn(object);
  if (reason !== undefined) return { kind: "unknown", reason };
  return { kind: "kms-v2", provider, object, dekSource: dekSourceOf(object) };
}

/** What kube-apiserver would refuse before it asks a KMS; undefined where nothing is wrong. */
function wrongIn({
  encryptedData,
  encryptedDekSource,
  keyId,
  annotations,
}: EncryptedObject): string | undefined {
  if (encryptedData.length === 0) return "it is cut: there is no encrypted data";
  if (encryptedDekSource.length === 0) return "it is cut: there is no DEK source";
  if (encryptedDekSource.length > limits.dekSource) return "its DEK source is longer than 1024 bytes";
  const keyIdBytes = Buffer.byteLength(keyId);
  if (keyIdBytes === 0) return "it is cut: there is no key_id";
  if (keyIdBytes > limits.keyId) return "its key_id is longer than 1024 bytes";
  const total = Object.entries(annotations).reduce(
    (sum, [name, { length }]) => sum + name.length + length,
    0,
  );
  return total > limits.annotations ? "its annotations are longer than 32 KiB" : undefined;
}

/**
 * The identity of a DEK source: 16 hexadecimal digits of a hash over the wrapped source, key_id and annotations, by which
 * kube-apiserver caches what Decrypt gave. Tells nothing about the DEK.
 */
export function dekSourceOf({ encryptedDekSource, keyId, annotations }: EncryptedObject): string {
  const hash = createHash("sha256");
  const add = (part: Uint8Array): void => {
    // With its length, so that no two lists of parts are the same bytes.
    hash.update(`${part.length}:`).update(part);
  };
  add(encryptedDekSource);
  add(Buffer.from(keyId));
  for (const [name, value] of Object.entries(annotations).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    add(Buffer.from(name));
    add(value);
  }
  return hash.digest("hex").slice(0, 16);
}

/**
 * The cryptography of a value under KMS v2, as kube-apiserver does it (k8s.io/apiserver, storage/value/encrypt/aes):
 * AES-256-GCM with the etcd key as additional data, under the DEK itself or under one derived from a seed by HKDF-Expand.
 */
import { createDecipheriv, createHmac } from "node:crypto";
import type { EncryptedObject } from "../../gen/k8s/v1/storage_pb.ts";

const infoBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const dekBytes = 32;

/** How a value is encrypted: `seed`, type 1, is what kube-apiserver has written since 1.28. */
export type DekSourceType = "key" | "seed";

/** What came of a decryption. `unauthenticated` is what the cipher gave although the tag is wrong: never to be shown. */
export type Decrypted =
  | { readonly outcome: "ok"; readonly plaintext: Buffer }
  | { readonly outcome: "tag-wrong"; readonly unauthenticated: Buffer }
  | { readonly outcome: "cut" };

/** The type that a value names; undefined where kube-apiserver knows none such. */
export function dekSourceType({ encryptedDekSourceType }: EncryptedObject): DekSourceType | undefined {
  return encryptedDekSourceType === 1 ? "seed" : encryptedDekSourceType === 0 ? "key" : undefined;
}

/** Whether a KMS gave a source that can be used: 32 bytes, as kube-apiserver demands. */
export function isDekSource(source: Uint8Array): boolean {
  return source.length === dekBytes;
}

/**
 * Decrypts the data of a value.
 * @param source the DEK or the seed, 32 bytes
 * @param etcdKey under which the value was written
 */
export function decryptValue(
  data: Uint8Array,
  type: DekSourceType,
  source: Uint8Array,
  etcdKey: string,
): Decrypted {
  const head = type === "seed" ? infoBytes : 0;
  if (data.length < head + nonceBytes + tagBytes) return { outcome: "cut" };
  const key = type === "seed" ? deriveKey(source, data.subarray(0, infoBytes)) : source;
  const nonce = data.subarray(head, head + nonceBytes);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes });
  decipher.setAAD(Buffer.from(etcdKey));
  decipher.setAuthTag(data.subarray(-tagBytes));
  const bytes = decipher.update(data.subarray(head + nonceBytes, -tagBytes));
  try {
    decipher.final();
    return { outcome: "ok", plaintext: bytes };
  } catch {
    return { outcome: "tag-wrong", unauthenticated: bytes };
  }
}

/** HKDF-Expand of one block, without Extract: Node's own `hkdf` would extract first. */
function deriveKey(seed: Uint8Array, info: Uint8Array): Buffer {
  return createHmac("sha256", seed).update(info).update(Buffer.of(1)).digest();
}

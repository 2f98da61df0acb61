/**
 * A key_id as the hash that kube-apiserver shows in its own metrics, so that logs and metrics of both can be
 * joined. Source: getHash in k8s.io/apiserver, pkg/storage/value/encrypt/envelope/metrics/metrics.go.
 */
import { createHash } from "node:crypto";

/** Each line of the log has one, and there are few keys: the hashes of the last are kept. */
const hashes = new Map<string, string>();
const maxHashes = 64;

/** `sha256:` and 64 lower-case hexadecimal digits, over the key_id's UTF-8 bytes; empty for an empty key_id. */
export function keyIdHash(keyId: string): string {
  if (keyId === "") return "";
  const known = hashes.get(keyId);
  if (known !== undefined) return known;
  const hash = `sha256:${createHash("sha256").update(keyId).digest("hex")}`;
  // Callers may send any key_id.
  if (hashes.size >= maxHashes) hashes.clear();
  hashes.set(keyId, hash);
  return hash;
}

/**
 * A key_id as the hash that kube-apiserver shows in its own metrics, so that logs and metrics of both can be
 * joined. Source: getHash in k8s.io/apiserver, pkg/storage/value/encrypt/envelope/metrics/metrics.go.
 */
import { createHash } from "node:crypto";

/** `sha256:` and 64 lower-case hexadecimal digits, over the key_id's UTF-8 bytes; empty for an empty key_id. */
export function keyIdHash(keyId: string): string {
  return keyId === "" ? "" : `sha256:${createHash("sha256").update(keyId).digest("hex")}`;
}

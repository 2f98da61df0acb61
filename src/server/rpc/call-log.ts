/**
 * One line of the log for each call. The key appears as the hash that kube-apiserver's metrics have; nothing of a
 * payload appears.
 */
import type { LogFields, Logger } from "../../log/log.ts";
import { keyIdHash } from "../../text/key-id-hash.ts";
import type { CodeName, EndedCall } from "./call.ts";

/** Writes the line of a call that has been answered. Successful Status and health calls are debug lines. */
export function logCall(logger: Logger, call: EndedCall, code: CodeName): void {
  const level = levelOf(call, code);
  if (!logger.enabled(level)) return;
  const fields: LogFields = {
    method: call.method.name,
    // Not `code`: that is this program's own code of the error.
    grpc: code,
    ms: Math.round((performance.now() - call.startedAt) * 100) / 100,
    uid: call.uid,
    key: call.keyId === undefined ? undefined : keyIdHash(call.keyId),
  };
  logger[level](code === "OK" ? "call answered" : "call failed", fields, call.error);
}

function levelOf(call: EndedCall, code: CodeName): "debug" | "info" | "warn" | "error" {
  if (code === "OK")
    return call.method.name === "Encrypt" || call.method.name === "Decrypt" ? "info" : "debug";
  if (code === "Canceled") return "info";
  return code === "Internal" || code === "Unknown" ? "error" : "warn";
}

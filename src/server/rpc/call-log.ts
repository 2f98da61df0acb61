/**
 * One line of the log for each call, and for what happens to the key. The key appears as the hash that
 * kube-apiserver's metrics have; nothing of a payload appears at all.
 */
import type { LogFields, Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import { keyIdHash } from "../../text/key-id-hash.ts";
import type { CodeName, EndedCall } from "./call.ts";
import type { KeySnapshot, StatusEvent } from "../key/key-status.ts";

/** Writes the line of a call that has been answered. Status and health calls that went well are debug lines. */
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

/** Makes what tells log and metrics about the key: `onEvent` of createKeyStatus. */
export function createStatusReporter(
  logger: Logger,
  metrics: Pick<Metrics, "probe" | "key">,
): (event: StatusEvent) => void {
  return (event) => {
    switch (event.type) {
      case "probe":
        metrics.probe(event.kind, event.outcome, event.durationMs / 1000);
        logger.debug(
          "probe",
          {
            kind: event.kind,
            outcome: event.outcome,
            ms: Math.round(event.durationMs),
            reason: event.reason,
          },
          event.trouble,
        );
        break;
      case "key":
        metrics.key(event.keyId);
        logger.info(event.previous === undefined ? "the key is ready" : "the key has changed", {
          key: keyIdHash(event.keyId),
          id: event.keyId,
          previous: event.previous,
          name: event.name,
        });
        break;
      case "state":
        logState(logger, event.now);
    }
  };
}

function logState(logger: Logger, now: KeySnapshot): void {
  const fields: LogFields = { state: now.state, healthz: now.healthz, id: now.keyId };
  switch (now.state) {
    case "ok":
      logger.info("the key is well", fields);
      break;
    case "grace":
      logger.warn("the key cannot be probed; Status stays ok for the grace", fields, now.trouble);
      break;
    case "transient":
      logger.error("the key cannot be probed; Status says so", fields, now.trouble);
      break;
    default:
      logger.error("the key must not be used; Status and Encrypt fail", fields, now.trouble);
  }
}

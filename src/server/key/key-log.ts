/** What happens to the key, for log and metrics. The key appears as the hash that kube-apiserver's metrics have. */
import type { LogFields, Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import { keyIdHash } from "../../text/key-id-hash.ts";
import { dateAdvice } from "./key-dates.ts";
import type { KeyDateNearEvent } from "./key-dates.ts";
import type { KeySnapshot } from "./key-health.ts";
import type { StatusEvent } from "./key-status.ts";
import type { SampleFileEvent } from "./samples.ts";

/** Makes what logs and counts: `onEvent` of createKeyStatus. */
export function createStatusReporter(
  logger: Logger,
  metrics: Pick<Metrics, "probe" | "key" | "keyState" | "keyDates">,
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
          event.failure,
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
        metrics.keyState(event.now.state, event.now.failure?.code);
        // A KMS that is unreachable in changing ways is one failure; a key that fails in another way is another.
        if (event.from !== event.now.state || event.now.state === "permanent") logState(logger, event.now);
        break;
      case "dates":
        metrics.keyDates(event.dates);
        break;
      case "date-near":
        logDate(logger, event);
        break;
      case "sample-file":
        logSampleFile(logger, event);
    }
  };
}

function logState(logger: Logger, now: KeySnapshot): void {
  const fields: LogFields = { state: now.state, healthz: now.healthz, id: now.keyId };
  switch (now.state) {
    case "ok":
      logger.info("the key is healthy", fields);
      break;
    case "grace":
      logger.warn("the key cannot be probed; Status stays ok for the grace period", fields, now.failure);
      break;
    case "transient":
      logger.error("the key cannot be probed; Status reports it", fields, now.failure);
      break;
    default:
      logger.error("the key must not be used; Status and Encrypt fail, Decrypt goes on", fields, now.failure);
  }
}

function logDate(logger: Logger, { keyId, warning }: KeyDateNearEvent): void {
  const fields: LogFields = {
    date: warning.at.toISOString(),
    id: keyId,
    key: keyIdHash(keyId),
    advice: dateAdvice,
  };
  if (warning.nearness === "passed") logger.error(warning.message, fields);
  else logger.warn(warning.message, fields);
}

function logSampleFile(logger: Logger, { path, change, error: failure }: SampleFileEvent): void {
  const error = failure instanceof Error ? failure.message : String(failure);
  switch (change) {
    case "unreadable":
      logger.warn("cannot read the file of --state-dir; the deep probe starts without earlier test values", {
        path,
        error,
      });
      break;
    case "unwritable":
      logger.warn(
        "cannot write the file of --state-dir; the deep probe's test values are lost with this process",
        { path, error },
      );
      break;
    default:
      logger.info("the file of --state-dir is written again", { path });
  }
}

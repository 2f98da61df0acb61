/** The events of the encryptor, as lines of the log and as metrics. */
import type { KmsEvent, KmsObserver } from "../../encryptors/encryptor.ts";
import type { Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";

/** Makes the observer. Exchanges and connections are debug lines, messages trace, a server lost a warning. */
export function createKmsReporter(logger: Logger, metrics: Pick<Metrics, "kms">): KmsObserver {
  return (event) => {
    metrics.kms(event);
    switch (event.type) {
      case "exchange":
        logExchange(logger, event);
        break;
      case "connection":
        logConnection(logger, event);
        break;
      case "endpoint":
        logEndpoint(logger, event);
        break;
      case "learned":
        logger.debug("learned about the server", { endpoint: event.endpoint, known: event.message });
        break;
      case "message":
        if (logger.enabled("trace"))
          logger.trace(`message ${event.direction}`, { endpoint: event.endpoint, dump: event.dump() });
    }
  };
}

type EventOf<Type extends KmsEvent["type"]> = Extract<KmsEvent, { readonly type: Type }>;

function logExchange(logger: Logger, event: EventOf<"exchange">): void {
  if (!logger.enabled("debug")) return;
  const { operation, endpoint, outcome, durationMs, requestBytes, replyBytes, requestId, uid, message } =
    event;
  logger.debug("exchange with the KMS", {
    operation,
    outcome,
    ms: rounded(durationMs),
    endpoint,
    requestBytes,
    replyBytes,
    uid,
    requestId,
    reason: message,
  });
}

function logConnection(logger: Logger, event: EventOf<"connection">): void {
  if (!logger.enabled("debug")) return;
  const { change, endpoint, counts, message, durationMs } = event;
  const ms = durationMs === undefined ? undefined : rounded(durationMs);
  logger.debug(`connection ${change}`, { endpoint, reason: message, ms, ...counts });
}

function logEndpoint(logger: Logger, { endpoint, up, inUse, message }: EventOf<"endpoint">): void {
  if (!up) logger.warn("the KMS can't be reached", { endpoint, reason: message });
  else if (inUse) logger.info("the KMS is in use", { endpoint, reason: message });
  else logger.info("the KMS can be reached", { endpoint, reason: message });
}

function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100;
}

/** The events of the encryptor, as lines of the log and as metrics. */
import type { KmsEvent, KmsObserver } from "../../encryptors/encryptor.ts";
import type { Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import { elapsedText } from "../../text/elapsed.ts";

/**
 * Makes the observer. Exchanges and connections are debug lines, messages trace, a server lost a warning.
 * @param now in ms, on a clock that cannot be set
 */
export function createKmsReporter(
  logger: Logger,
  metrics: Pick<Metrics, "kms">,
  now: () => number = () => performance.now(),
): KmsObserver {
  /** Since when each server that is down is down. */
  const downSince = new Map<string, number>();
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
        logEndpoint(logger, event, downSince, now());
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

function logEndpoint(
  logger: Logger,
  { endpoint, up, inUse, message: reason }: EventOf<"endpoint">,
  downSince: Map<string, number>,
  now: number,
): void {
  const since = downSince.get(endpoint);
  if (!up) {
    downSince.set(endpoint, since ?? now);
    logger.warn("the KMS can't be reached", { endpoint, reason });
    return;
  }
  downSince.delete(endpoint);
  const lasted = since === undefined ? undefined : elapsedText(now - since);
  logger.info(inUse ? "the KMS is in use" : "the KMS can be reached", { endpoint, reason, lasted });
}

function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100;
}

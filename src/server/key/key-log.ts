/** What happens to the key, for log and metrics. The key appears as the hash that kube-apiserver's metrics have. */
import type { LogFields, Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import { elapsedText } from "../../text/elapsed.ts";
import { keyIdHash } from "../../text/key-id-hash.ts";
import { dateAdvice } from "./key-dates.ts";
import type { KeyDateNearEvent } from "./key-dates.ts";
import type { KeySnapshot, KeyState } from "./key-health.ts";
import type { StatusEvent } from "./key-status.ts";
import type { SampleFileEvent } from "./samples.ts";

/** For so long a failure that lasts is not logged again, in ms. */
const repeatMs = 10 * 60_000;

/**
 * Makes what logs and counts: `onEvent` of createKeyStatus.
 * @param now in ms, on a clock that cannot be set
 */
export function createStatusReporter(
  logger: Logger,
  metrics: Pick<Metrics, "probe" | "key" | "keyState" | "keyDates">,
  now: () => number = () => performance.now(),
): (event: StatusEvent) => void {
  const states = new StateLog(logger, now);
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
        states.probed(event.failure);
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
        states.changed(event.from, event.now);
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

/** A failure that has not ended yet. */
interface Trouble {
  readonly since: number;
  loggedAt: number;
  now: KeySnapshot;
}

/** The lines of the key's state: at each change, every {@link repeatMs} while a failure lasts, and at its end. */
class StateLog {
  readonly #logger: Logger;
  readonly #now: () => number;
  #trouble: Trouble | undefined;

  constructor(logger: Logger, now: () => number) {
    this.#logger = logger;
    this.#now = now;
  }

  changed(from: KeyState, now: KeySnapshot): void {
    if (now.state === "ok") {
      this.#recovered(now);
      return;
    }
    const at = this.#now();
    this.#trouble = { since: this.#trouble?.since ?? at, loggedAt: at, now };
    // In the grace period a KMS that is unreachable in changing ways is one failure. Once it is reported, its present reason counts.
    if (from !== now.state || now.state !== "grace") this.#log(this.#trouble);
  }

  /** A probe has ended; undefined: it was good. */
  probed(failure: KeySnapshot["failure"]): void {
    const trouble = this.#trouble;
    if (failure === undefined || trouble === undefined) return;
    if (this.#now() - trouble.loggedAt < repeatMs) return;
    trouble.loggedAt = this.#now();
    this.#log(trouble);
  }

  #recovered(now: KeySnapshot): void {
    const trouble = this.#trouble;
    this.#trouble = undefined;
    this.#logger.info("the key is healthy", {
      ...fieldsOf(now),
      ...(trouble !== undefined && { was: trouble.now.failure?.code, lasted: this.#lasted(trouble) }),
    });
  }

  #log(trouble: Trouble): void {
    const { now } = trouble;
    const fields = {
      ...fieldsOf(now),
      ...(trouble.loggedAt - trouble.since >= 1000 && { lasted: this.#lasted(trouble) }),
    };
    const { failure } = now;
    switch (now.state) {
      case "grace":
        this.#logger.warn("the key cannot be probed; Status stays ok for the grace period", fields, failure);
        break;
      case "transient":
        this.#logger.error("the key cannot be probed; Status reports it", fields, failure);
        break;
      default:
        this.#logger.error(
          "the key must not be used; Status and Encrypt fail, Decrypt is still tried",
          fields,
          failure,
        );
    }
  }

  #lasted({ since }: Trouble): string {
    return elapsedText(this.#now() - since);
  }
}

function fieldsOf({ state, healthz, keyId }: KeySnapshot): LogFields {
  return { state, healthz, id: keyId };
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

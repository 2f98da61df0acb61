/** The process around the server: signals, and uncaught failures, none of which may end it. */
import { endProcess } from "../../process/end-process.ts";
import type { Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import { elapsedText } from "../../text/elapsed.ts";

/**
 * Resolves with the name of the first SIGTERM or SIGINT; a second one ends the process at once.
 * @param reload called for each SIGHUP; gives what came of it, in words
 */
export function untilAskedToEnd(logger: Logger, reload: () => Promise<string>): Promise<NodeJS.Signals> {
  process.on("SIGHUP", async () => {
    logger.info("SIGHUP: reading the certificate files again");
    logger.info(`SIGHUP: ${await reload()}`);
  });
  // See early-signals.ts.
  process.on("SIGUSR1", () => {
    logger.info("SIGUSR1: nothing is done for it");
  });
  return new Promise((resolve) => {
    let isAsked = false;
    for (const signal of ["SIGTERM", "SIGINT"] as const)
      process.on(signal, () => {
        if (isAsked) void endProcess(1);
        isAsked = true;
        resolve(signal);
      });
  });
}

/** Time between two looks at the clock, and the time between them that is worth a line, in ms. */
const pauseCheck = { everyMs: 1000, longMs: 5000 } as const;

/**
 * Logs when the process did not run for seconds: callers saw no answer, and nothing else explains it. Ends with the process.
 * @param now in ms, on a clock that cannot be set
 */
export function watchPauses(logger: Logger, now: () => number = () => performance.now()): void {
  let last = now();
  setInterval(() => {
    const sinceMs = now() - last;
    last += sinceMs;
    if (sinceMs < pauseCheck.longMs) return;
    logger.warn("the process did not run: it was stopped, or had no CPU or memory; calls were not answered", {
      lasted: elapsedText(sinceMs),
    });
  }, pauseCheck.everyMs).unref();
}

/**
 * Logs uncaught failures, and continues. Node's advice is to end the process, because its state may be invalid. Here
 * each call's state is its own, the key's status is determined again by every probe, and an end would cost the control
 * plane up to two minutes of back-off: an error that is logged and counted is the smaller harm.
 */
export function guardProcess(logger: Logger, metrics: Pick<Metrics, "rejected">): void {
  process.on("uncaughtException", (error, origin) => {
    metrics.rejected("unexpected");
    logger.error("an unexpected failure: the process goes on; please report it", { origin }, error);
  });
  // Node's own listener prints plain text into what may be a log of JSON.
  process.removeAllListeners("warning");
  process.on("warning", (warning) => {
    logger.warn("Node warns", { name: warning.name, reason: warning.message });
  });
}

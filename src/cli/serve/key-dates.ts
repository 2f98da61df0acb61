/** Reports the dates of the key in use: a metric at each probe, and a line of the log 30 days and 7 days before, and when one has passed. */
import type { Encryptor } from "../../encryptors/encryptor.ts";
import type { Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import { dateAdvice, dateWarnings } from "../key-dates.ts";

/** The encryptor, with the dates of each key that it resolves reported. Each warning is logged once. */
export function reportKeyDates(
  encryptor: Encryptor,
  logger: Pick<Logger, "warn" | "error">,
  metrics: Pick<Metrics, "keyDates">,
): Encryptor {
  const logged = new Set<string>();
  return {
    ...encryptor,
    resolveKey: async (context) => {
      const info = await encryptor.resolveKey(context);
      const dates = info.dates ?? {};
      metrics.keyDates(dates);
      for (const { name, at, nearness, message } of dateWarnings(dates)) {
        const mark = `${info.keyId} ${name} ${at.getTime()} ${nearness}`;
        if (logged.has(mark)) continue;
        logged.add(mark);
        const fields = { keyId: info.keyId, date: at.toISOString(), advice: dateAdvice };
        if (nearness === "passed") logger.error(message, fields);
        else logger.warn(message, fields);
      }
      return info;
    },
  };
}

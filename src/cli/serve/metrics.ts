/** The metrics that a configuration needs: without --http-addr no client can read them, so nothing is counted and their library is not loaded. */
import type { Config } from "../../config/config.ts";
import type { Metrics } from "../../metrics.ts";
import { version } from "../../process/version.ts";

/** The metrics of a configuration. */
export async function metricsFor({ httpAddr, protocol }: Config): Promise<Metrics> {
  if (httpAddr === undefined) return noMetrics;
  const { createMetrics } = await import("../../metrics.ts");
  return createMetrics({ version, protocol });
}

const nothing = (): void => undefined;

const noMetrics: Metrics = {
  request: nothing,
  inflight: nothing,
  rejected: nothing,
  kms: nothing,
  connections: nothing,
  probe: nothing,
  key: nothing,
  keyState: nothing,
  keyDates: nothing,
  certificates: nothing,
  reload: nothing,
  socketRebind: nothing,
  logLines: nothing,
  render: () => Promise.resolve(""),
  contentType: "text/plain",
};

/** Metrics of which each has at least one series, for tests that look at names and labels. */
import type { Metrics } from "../src/metrics.ts";
import { createMetrics } from "../src/metrics.ts";

/** Makes them, with one of everything told. */
export function createUsedMetrics(): Metrics {
  const metrics = createMetrics({ version: "1.2.3", protocol: "kmip" });
  metrics.request("Encrypt", "OK", 0.004);
  metrics.inflight(1);
  metrics.rejected("overloaded");
  metrics.kms({
    type: "exchange",
    operation: "Encrypt",
    endpoint: "kms:5696",
    outcome: "ok",
    durationMs: 3,
    requestBytes: 200,
    replyBytes: 300,
  });
  metrics.connections(() => ({ idle: 1, busy: 2, connecting: 0 }));
  metrics.kms({ type: "endpoint", endpoint: "kms:5696", up: true, inUse: true });
  metrics.probe("deep", "ok", 0.01);
  metrics.key("key-1");
  metrics.keyState("permanent", "KEY_CHANGED");
  metrics.keyDates({ deactivation: new Date("2030-01-01T00:00:00Z") });
  metrics.certificates([{ file: "/etc/okms/cert.pem", notAfter: new Date("2030-01-01T00:00:00Z") }]);
  metrics.reload("ok");
  metrics.socketRebind();
  metrics.logLines(() => 3);
  return metrics;
}

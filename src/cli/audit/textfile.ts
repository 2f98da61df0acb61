/** An audit as metrics for node_exporter's textfile collector: a file that is replaced as a whole. */
import { Gauge, Registry } from "@prometheus-io/client";
import { ProviderError } from "../../errors.ts";
import { coldStartDecrypts } from "../../etcd/inventory.ts";
import { replaceFile } from "../../process/replace-file.ts";
import { keyIdHash } from "../../text/key-id-hash.ts";
import type { Audit } from "./report.ts";

const prefix = "okms_audit_";

/** Writes the file. @throws ETCD_DATA where it cannot */
export async function writeTextfile(file: string, audit: Audit): Promise<void> {
  try {
    // The collector reads as another user.
    await replaceFile(file, await renderMetrics(audit), 0o644);
  } catch (error) {
    throw new ProviderError(
      "ETCD_DATA",
      `--textfile ${file} cannot be written: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}

/** In the Prometheus text format. */
export async function renderMetrics({ sources, isGood }: Audit): Promise<string> {
  const registry = new Registry();
  const gauge = <Label extends string>(name: string, help: string, ...labelNames: Label[]): Gauge<Label> =>
    new Gauge({ name: `${prefix}${name}`, help, labelNames, registers: [registry] });
  gauge("ok", "1 where everything was as it should be.").set(isGood ? 1 : 0);
  gauge("time_seconds", "When the audit ended, in Unix time.").set(Math.floor(Date.now() / 1000));
  const read = gauge("source_read", "1 where the source could be read.", "source");
  const objects = gauge(
    "objects",
    "Current objects, by what they are encrypted with.",
    "source",
    "resource",
    "kind",
    "provider",
    "key_id_hash",
  );
  const deks = gauge(
    "cold_start_decrypts",
    "Decrypts that kube-apiserver asks for at its next start.",
    "source",
  );
  const problems = gauge("problem_objects", "Objects that are not as they should be.", "source", "problem");
  for (const report of sources) {
    const { source } = report;
    read.set({ source }, "error" in report ? 0 : 1);
    if ("error" in report) continue;
    const { current } = report.inventory;
    for (const { resource, kind, provider, keyId, objects: count } of current.groups)
      objects.set({ source, resource, kind, provider, key_id_hash: keyIdHash(keyId) }, count);
    deks.set({ source }, coldStartDecrypts(current));
    for (const { kind, objects: count } of report.problems) problems.inc({ source, problem: kind }, count);
  }
  return registry.metrics();
}

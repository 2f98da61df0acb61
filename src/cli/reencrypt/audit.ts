/** The end of a run that knows etcd: an audit of it, and one sentence on the old key. */
import { ProviderError } from "../../errors.ts";
import { renderReport } from "../audit/render.ts";
import { auditSource, type SourceReport } from "../audit/report.ts";
import { readRules } from "../audit/rules.ts";
import { printable } from "../render.ts";
import { createProgressBar } from "../etcd/progress.ts";
import { openLive } from "../etcd/sources.ts";
import type { ReencryptOptions } from "./options.ts";

/** Reads etcd and prints what it holds. @returns whether everything is as it should be */
export async function endWithAudit(
  { etcd, etcdPrefix: prefix, encryptionConfig }: ReencryptOptions,
  stdout: NodeJS.WritableStream,
  stderr: Parameters<typeof createProgressBar>[0],
): Promise<boolean> {
  if (etcd === undefined) return true;
  const rules = encryptionConfig === undefined ? undefined : await readRules(encryptionConfig);
  const source = await openLive(etcd, prefix).catch((error: unknown) => {
    // The command line was right when the run began; what is rewritten is rewritten.
    if (error instanceof ProviderError) return error;
    throw error;
  });
  if (source instanceof ProviderError) {
    stdout.write(`✖ etcd cannot be read: ${printable(source.message)}\n`);
    return false;
  }
  const bar = createProgressBar(stderr, source.name);
  const report = await auditSource(source, { prefix, rules, onProgress: bar.update });
  bar.clear();
  stdout.write(`\n${renderReport(report, prefix).trimEnd()}\n`);
  if ("error" in report) return false;
  stdout.write(sentence(report));
  return report.problems.length === 0;
}

function sentence({ problems, inventory }: SourceReport): string {
  if (problems.some(({ kind }) => kind === "old-key" || kind === "provider-missing"))
    return "Something is still under an old key.\n";
  const keys = new Set(inventory.current.groups.map(({ keyId }) => keyId).filter((keyId) => keyId !== ""));
  const now =
    keys.size === 0 ? "" : ` All that is encrypted by a KMS is under ${printable([...keys].join(", "))}.`;
  return `Nothing is under an old key any more.${now}\n`;
}

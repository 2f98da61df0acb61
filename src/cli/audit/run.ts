/** Runs an audit: every source in turn, then the report as a table, as JSON, and as metrics. */
import { createOpener } from "../../etcd/opener.ts";
import type { KmsSettings } from "../etcd/kms.ts";
import { withKms } from "../etcd/open-kms.ts";
import { createProgressBar } from "../etcd/progress.ts";
import { openSources, type SourceIo, type SourceSettings } from "../etcd/sources.ts";
import { renderJson } from "./json.ts";
import { judgeKey } from "./key-verdict.ts";
import { renderHeadline, renderReport, renderVerdict } from "./render.ts";
import { type Audit, auditSource, type FailedSource, type SourceReport } from "./report.ts";
import { readRules } from "./rules.ts";
import { writeTextfile } from "./textfile.ts";

/** What `audit` is run with. */
export interface AuditOptions {
  readonly sources: SourceSettings;
  /** Keys that are to be destroyed; none: a plain audit. */
  readonly keyIds: readonly string[];
  /** Verify with it; undefined: nothing is decrypted. */
  readonly kms: KmsSettings | undefined;
  /** Path of kube-apiserver's EncryptionConfiguration. */
  readonly encryptionConfig: string | undefined;
  readonly isJson: boolean;
  /** Path of a file for node_exporter. */
  readonly textfile: string | undefined;
}

/**
 * Audits.
 * @returns the exit code: 0 where everything is as it should be, else 1
 * @throws CONFIG where the EncryptionConfiguration cannot be used
 */
export async function runAudit(options: AuditOptions, io: SourceIo): Promise<number> {
  const rules =
    options.encryptionConfig === undefined ? undefined : await readRules(options.encryptionConfig);
  return withKms(options.kms, io.stderr, async (kms) => {
    const opener = kms === undefined ? undefined : createOpener(kms.unwrap);
    const sources = await openSources(options.sources, io.stdin);
    const { prefix } = options.sources;
    const reports: (SourceReport | FailedSource)[] = [];
    for (const source of sources) {
      const bar = createProgressBar(io.stderr, source.name);
      const report = await auditSource(source, { prefix, rules, opener, onProgress: bar.update });
      bar.clear();
      reports.push(report);
      const isAboutKey = options.keyIds.length > 0 && options.kms === undefined;
      if (!options.isJson)
        io.stdout.write(isAboutKey ? renderHeadline(report) : renderReport(report, prefix));
    }
    opener?.close();
    const audit = judge(reports, options.keyIds);
    if (options.isJson) io.stdout.write(renderJson(audit, prefix));
    else for (const verdict of audit.verdicts) io.stdout.write(renderVerdict(verdict));
    if (options.textfile !== undefined) await writeTextfile(options.textfile, audit);
    return audit.isGood ? 0 : 1;
  });
}

function judge(sources: readonly (SourceReport | FailedSource)[], keyIds: readonly string[]): Audit {
  const examined = sources.map((report) => ({
    source: report.source,
    inventory: "inventory" in report ? report.inventory : undefined,
  }));
  const verdicts = keyIds.map((keyId) => judgeKey(keyId, examined));
  const isRead = sources.every((report) => "inventory" in report);
  const hasProblems = sources.some((report) => "problems" in report && report.problems.length > 0);
  const isGood = keyIds.length > 0 ? verdicts.every(({ answer }) => answer === "yes") : !hasProblems;
  return { sources, verdicts, isGood: isGood && isRead };
}

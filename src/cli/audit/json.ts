/** An audit for programs: docs/audit.md has the fields. */
import { coldStartDecrypts, type Count, type Group, type Holdings } from "../../etcd/inventory.ts";
import { failureText } from "../render.ts";
import { deletionCommand } from "./deletion.ts";
import type { KeyVerdict, Need } from "./key-verdict.ts";
import type { Audit, FailedSource, SourceReport } from "./report.ts";
import type { UnreadableList, VerifyResult } from "./verify.ts";

/** One document. */
export function renderJson({ sources, verdicts, isGood }: Audit, prefix: string): string {
  const document = {
    ok: isGood,
    sources: sources.map((report) => jsonOfSource(report, prefix)),
    ...(verdicts.length > 0 && { keys: verdicts.map(jsonOfVerdict) }),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

function jsonOfSource(report: SourceReport | FailedSource, prefix: string): object {
  const { source, kind } = report;
  if ("error" in report) return { source, kind, error: failureText(report.error), code: report.error.code };
  const { facts, inventory, verified, problems, notes } = report;
  return {
    source,
    kind,
    ...facts,
    current: jsonOfHoldings(inventory.current),
    oldRevisions: jsonOfHoldings(inventory.old),
    deletions: inventory.tombstones,
    coldStartDecrypts: coldStartDecrypts(inventory.current),
    ...(verified !== undefined && { verify: jsonOfVerify(verified, prefix) }),
    problems,
    notes,
  };
}

function jsonOfHoldings({ objects, groups, notUnderstood, notUnderstoodCount }: Holdings): object {
  return { objects, groups: groups.map(jsonOfGroup), notUnderstoodCount, notUnderstood };
}

function jsonOfGroup(group: Group): object {
  const { resource, kind, provider, keyId, dekSources, examples } = group;
  return {
    resource,
    kind,
    ...(provider !== "" && { provider }),
    ...(keyId !== "" && { keyId }),
    ...jsonOfCount(group),
    ...(kind === "kms-v2" && {
      dekSources: [...dekSources].map(([id, count]) => ({ id, ...jsonOfCount(count) })),
    }),
    examples,
  };
}

function jsonOfCount({ objects, oldestRevision, newestRevision }: Count): object {
  return { objects, ...(newestRevision > 0 && { oldestRevision, newestRevision }) };
}

function jsonOfVerify(verified: VerifyResult, prefix: string): object {
  const { readable, decryptCalls, notChecked, unreadable, unreadableOld, apiVersions } = verified;
  const withCommands = ({ count, values }: UnreadableList): object => ({
    count,
    values: values.map((value) => ({
      ...value,
      deleteCommand: deletionCommand(value.key, prefix, apiVersions),
    })),
  });
  return { readable, decryptCalls, notChecked, unreadable: withCommands(unreadable), unreadableOld };
}

function jsonOfVerdict({ keyId, answer, current, old, unnamed, unread }: KeyVerdict): object {
  return {
    keyId,
    answer,
    current: current.map(jsonOfNeed),
    oldRevisions: old.map(jsonOfNeed),
    unnamed: unnamed.map(jsonOfNeed),
    unread,
  };
}

function jsonOfNeed({ source, group }: Need): object {
  return { source, ...jsonOfGroup(group) };
}

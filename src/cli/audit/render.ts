/** An audit for people: a table of what is encrypted by what, then what is not as it should be. */
import { coldStartDecrypts, type Count, type Group, type Holdings } from "../../etcd/inventory.ts";
import { amount, failureText, printable, tableLines } from "../render.ts";
import { deletionCommand } from "./deletion.ts";
import type { KeyVerdict, Need } from "./key-verdict.ts";
import { describeGroup } from "./problems.ts";
import type { FailedSource, SourceReport } from "./report.ts";
import type { UnreadableValue, VerifyResult } from "./verify.ts";

/** Most unreadable values that are listed; --json has more. */
const mostLines = 50;

/** One source in one line, where the question is about a key. */
export function renderHeadline(report: SourceReport | FailedSource): string {
  if ("error" in report) return `✖ ${failureText(report.error)}\n`;
  return [headline(report), ...report.notes.map((note) => `! ${note}`), ""].map(printable).join("\n");
}

/** One source. */
export function renderReport(report: SourceReport | FailedSource, prefix: string): string {
  if ("error" in report) return `✖ ${failureText(report.error)}\n\n`;
  const { inventory, verified, problems, notes } = report;
  const lines = [
    headline(report),
    "",
    ...table(inventory.current),
    "",
    coldStart(inventory.current),
    ...oldRevisions(inventory.old),
    ...notes.map((note) => `! ${note}`),
    ...(verified === undefined ? [] : verification(verified)),
    ...problems
      .filter(({ kind }) => kind !== "unreadable")
      .map(({ message, examples, objects }) => `✖ ${message}${examplesOf(examples, objects)}`),
    ...unreadable(report, prefix),
    ...(problems.length === 0 ? ["✔ everything is as it should be"] : []),
  ];
  return `${lines.map(printable).join("\n")}\n\n`;
}

function headline({ source, facts, inventory }: SourceReport): string {
  const { current, old, tombstones } = inventory;
  const parts = [
    facts.etcdVersion === undefined ? [] : [`etcd ${facts.etcdVersion}`],
    facts.revision === undefined ? [] : [`revision ${facts.revision}`],
    [amount(current.objects, "objects")],
    old.objects === 0 ? [] : [amount(old.objects, "old revisions")],
    tombstones === 0 ? [] : [amount(tombstones, "deletions")],
  ].flat();
  return `${source}: ${parts.join(", ")}`;
}

const header = ["RESOURCE", "PROVIDER", "KEY", "OBJECTS", "DEK SOURCES", "REVISIONS"];
/** Of {@link header}, the columns that are numbers. */
const numbers = [3, 4];

/** What is encrypted, and what lies beside it in plaintext; other plaintext is one row. */
function table({ groups }: Holdings): string[] {
  const encrypted = new Set(
    groups.filter(({ kind }) => kind !== "plaintext").map(({ resource }) => resource),
  );
  const isShown = ({ resource, kind }: Group): boolean =>
    kind !== "plaintext" || resource === "secrets" || encrypted.has(resource);
  const rest = groups.filter((group) => !isShown(group));
  const rows = [header, ...groups.filter(isShown).flatMap(rowsOf)];
  if (rest.length > 0) {
    const objects = rest.reduce((sum, group) => sum + group.objects, 0);
    rows.push([amount(rest.length, "other resources"), "plaintext", "", String(objects), "", ""]);
  }
  return tableLines(rows, numbers);
}

/** Most DEK sources of a group that have rows of their own. */
const mostSources = 10;

/** A group, and below it its DEK sources, where it has more than one. */
function rowsOf(group: Group): string[][] {
  const { resource, kind, provider, keyId, objects, dekSources } = group;
  const row = [
    resource,
    kind === "plaintext" ? "plaintext" : `${kind.replace("-", " ")} ${provider}`,
    keyId,
    String(objects),
    kind === "kms-v2" ? String(dekSources.size) : "",
    revisions(group),
  ];
  if (dekSources.size < 2) return [row];
  const sources = [...dekSources].toSorted(([, a], [, b]) => b.newestRevision - a.newestRevision);
  const below = sources
    .slice(0, mostSources)
    .map(([id, count]) => ["", "", `  DEK source ${id}`, String(count.objects), "", revisions(count)]);
  const more = sources.length - mostSources;
  return [row, ...below, ...(more > 0 ? [["", "", `  and ${more} more: see --json`, "", "", ""]] : [])];
}

function revisions({ oldestRevision, newestRevision }: Count): string {
  if (newestRevision === 0) return "";
  return oldestRevision === newestRevision ? String(oldestRevision) : `${oldestRevision}–${newestRevision}`;
}

function coldStart(holdings: Holdings): string {
  const calls = coldStartDecrypts(holdings);
  return `${amount(calls, "DEK sources")}: at its next cold start kube-apiserver asks for ${amount(calls, "Decrypts")}`;
}

/** Apart, for nothing reads them but who restores a backup to an earlier revision. */
function oldRevisions(old: Holdings): string[] {
  const encrypted = old.groups.filter(({ kind, resource }) => kind !== "plaintext" || resource === "secrets");
  if (encrypted.length === 0) return [];
  return [
    "",
    "Old revisions, of objects that were changed or deleted since:",
    ...tableLines([header, ...encrypted.flatMap(rowsOf)], numbers),
    "",
  ];
}

function verification({ readable, decryptCalls, unreadableOld, notChecked }: VerifyResult): string[] {
  return [
    `${amount(readable, "values")} can be read, with ${amount(decryptCalls, "Decrypts")} of DEK sources`,
    ...Object.entries(notChecked).map(
      ([message, count]) => `! ${amount(count, "values")} not checked: ${message}`,
    ),
    ...(unreadableOld.count === 0
      ? []
      : [
          `! ${amount(unreadableOld.count, "old revisions")} cannot be read: ${reasonsOf(unreadableOld.values)}`,
        ]),
  ];
}

function reasonsOf(values: readonly UnreadableValue[]): string {
  const counts = Map.groupBy(values, ({ reason }) => reason);
  return [...counts].map(([reason, own]) => `${own.length} ${reason}`).join(", ");
}

function unreadable({ verified, inventory }: SourceReport, prefix: string): string[] {
  const values: readonly Pick<UnreadableValue, "key" | "message">[] =
    verified?.unreadable.values ??
    inventory.current.notUnderstood.map(({ key, reason }) => ({ key, message: reason }));
  const count = verified?.unreadable.count ?? inventory.current.notUnderstoodCount;
  if (count === 0) return [];
  const apiVersions = verified?.apiVersions ?? new Map<string, string>();
  const commands = values
    .slice(0, mostLines)
    .flatMap(({ key }) => deletionCommand(key, prefix, apiVersions) ?? []);
  return [
    ...(verified === undefined ? [] : [`✖ ${amount(count, "values")} cannot be read:`]),
    ...(verified === undefined
      ? []
      : values.slice(0, mostLines).map(({ key, message }) => `  ${key}: ${message}`)),
    ...(count > mostLines ? [`  and ${count - mostLines} more: see --json`] : []),
    ...(commands.length === 0
      ? []
      : [
          "",
          "To delete them, if there is no backup that has them (Kubernetes 1.32 or later with the feature gate",
          "AllowUnsafeMalformedObjectDeletion; the verb unsafe-delete-ignore-read-errors is needed beside delete):",
          ...commands.map((command) => `  ${command}`),
        ]),
  ];
}

function examplesOf(examples: readonly string[], objects: number): string {
  return examples.length === 0 ? "" : ` (${examples.join(", ")}${examples.length < objects ? ", …" : ""})`;
}

/** May the key be destroyed? */
export function renderVerdict({ keyId, answer, current, old, unnamed, unread }: KeyVerdict): string {
  const lines = {
    yes: [`✔ key ${keyId} may be destroyed: nothing that was read needs it`],
    no: [`✖ key ${keyId} must not be destroyed: current objects need it`],
    "old-revisions": [
      `✖ key ${keyId} is needed by old revisions only: no current object needs it, and without it those revisions cannot be read any more`,
    ],
    unknown: [`✖ whether key ${keyId} may be destroyed is not known`],
  }[answer];
  const more = [
    ...needLines("current", current),
    ...needLines("old revisions", old),
    ...needLines("under KMS v1, which names no key", unnamed),
    ...unread.map(
      (source) =>
        `  ${source} could not be read, holds no object under the prefix, or values of an unknown provider`,
    ),
  ];
  return `${[...lines, ...more].map(printable).join("\n")}\n`;
}

function needLines(title: string, needs: readonly Need[]): string[] {
  return needs.map(
    ({ source, group }) =>
      `  ${title}: ${amount(group.objects, group.resource)} in ${source}, ${describeGroup({ ...group, keyId: "" })}${examplesOf(group.examples, group.objects)}`,
  );
}

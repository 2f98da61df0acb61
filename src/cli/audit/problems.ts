/** What is not as it should be in what a source holds: the reasons for exit code 1. */
import type { Group, Holdings, Inventory } from "../../etcd/inventory.ts";
import { amount } from "../render.ts";
import { isOf, type Provider, type Rules } from "./rules.ts";
import type { VerifyResult } from "./verify.ts";

/**
 * `nothing-read`: no object is there; `plaintext`: it should be encrypted; `not-understood`: neither an object nor
 * encrypted by anything known; `old-key`: under a key that is no longer the one that writes; `provider-missing`: under a
 * provider that the EncryptionConfiguration does not name; `unreadable`: found by --verify.
 */
export type ProblemKind =
  | "nothing-read"
  | "plaintext"
  | "not-understood"
  | "old-key"
  | "provider-missing"
  | "unreadable";

/** One thing that is not as it should be. */
export interface Problem {
  readonly kind: ProblemKind;
  /** One sentence. */
  readonly message: string;
  readonly objects: number;
  /** Names of the first few. */
  readonly examples: readonly string[];
}

/** A provider and its key, for messages. */
export function describeGroup({ kind, provider, keyId }: Pick<Group, "kind" | "provider" | "keyId">): string {
  if (kind === "plaintext") return "plaintext";
  const name = `${kind.replace("-", " ")} ${provider}`;
  return keyId === "" ? name : `${name}, key ${keyId}`;
}

/** Judges what is current; old revisions are history. @param rules undefined: what is not encrypted is judged by its neighbours */
export function findProblems(
  { current }: Inventory,
  prefix: string,
  rules: Rules | undefined,
  verified: VerifyResult | undefined,
): Problem[] {
  if (current.objects === 0)
    return [
      problem(
        "nothing-read",
        `there is no object under ${prefix}: compare --etcd-prefix with kube-apiserver's`,
        0,
      ),
    ];
  return [
    ...(rules === undefined ? withoutRules(current) : byRules(current, rules)),
    ...notUnderstood(current),
    ...unreadable(verified),
  ];
}

function problem(
  kind: ProblemKind,
  message: string,
  objects: number,
  examples: readonly string[] = [],
): Problem {
  return { kind, message, objects, examples };
}

/** Secrets are to be encrypted, and everything of which something is. The newest write shows who writes. */
function withoutRules({ groups }: Holdings): Problem[] {
  return [...Map.groupBy(groups, ({ resource }) => resource)].flatMap(([resource, own]) => {
    const encrypted = own.filter(({ kind }) => kind !== "plaintext");
    const writer = newest(encrypted);
    return own.flatMap((group) => {
      if (group.kind === "plaintext")
        return resource === "secrets" || encrypted.length > 0 ? [inPlaintext(group)] : [];
      const isOther = writer !== undefined && !isOf(group, { kind: writer.kind, name: writer.provider });
      const current = isOther ? writer : newestOf(groups, { kind: group.kind, name: group.provider });
      return isSuperseded(group, current) ? [underOldKey(group, current)] : [];
    });
  });
}

function byRules({ groups }: Holdings, rules: Rules): Problem[] {
  return groups.flatMap((group) => {
    const { writer, readers } = rules(group.resource);
    if (!readers.some((reader) => isOf(group, reader))) return [underMissingProvider(group)];
    if (isOf(group, writer)) {
      const current = newestOf(groups, writer);
      return isSuperseded(group, current) ? [underOldKey(group, current)] : [];
    }
    if (group.kind === "plaintext") return [inPlaintext(group)];
    const name = describeGroup({ kind: writer.kind, provider: writer.name, keyId: "" });
    return [
      problem(
        "old-key",
        `${amount(group.objects, group.resource)} under ${describeGroup(group)}: the EncryptionConfiguration writes with ${name}; rewrite them`,
        group.objects,
        group.examples,
      ),
    ];
  });
}

function newest(groups: readonly Group[]): Group | undefined {
  return groups.toSorted((a, b) => b.newestRevision - a.newestRevision)[0];
}

function newestOf(groups: readonly Group[], provider: Provider): Group | undefined {
  return newest(groups.filter((group) => isOf(group, provider)));
}

/** Without revisions (a single value) nothing is known of the order. */
function isSuperseded(group: Group, current: Group | undefined): current is Group {
  if (current === undefined || current.newestRevision === 0) return false;
  return current.keyId !== group.keyId || current.provider !== group.provider || current.kind !== group.kind;
}

function inPlaintext({ resource, objects, examples }: Group): Problem {
  const text = `${amount(objects, resource)} in plaintext that should be encrypted: rewrite them`;
  return problem("plaintext", text, objects, examples);
}

function underOldKey(group: Group, current: Group): Problem {
  const text = `${amount(group.objects, group.resource)} under ${describeGroup(group)}: newer writes use ${describeGroup(current)}; rewrite them`;
  return problem("old-key", text, group.objects, group.examples);
}

function underMissingProvider(group: Group): Problem {
  const text =
    group.kind === "plaintext"
      ? `${amount(group.objects, group.resource)} in plaintext, which the EncryptionConfiguration cannot read: it has no identity for ${group.resource}`
      : `${amount(group.objects, group.resource)} under ${describeGroup(group)}, which the EncryptionConfiguration does not name for ${group.resource}: kube-apiserver cannot read them`;
  return problem("provider-missing", text, group.objects, group.examples);
}

const mostExamples = 3;

function notUnderstood({ notUnderstood: list, notUnderstoodCount }: Holdings): Problem[] {
  if (notUnderstoodCount === 0) return [];
  const examples = list.slice(0, mostExamples).map(({ key, reason }) => `${key} (${reason})`);
  return [
    problem(
      "not-understood",
      `${amount(notUnderstoodCount, "values")} not understood`,
      notUnderstoodCount,
      examples,
    ),
  ];
}

function unreadable(verified: VerifyResult | undefined): Problem[] {
  if (verified === undefined || verified.unreadable.count === 0) return [];
  const { count } = verified.unreadable;
  return [problem("unreadable", `${amount(count, "values")} cannot be read`, count)];
}

/** `--key-id`: whether a key of the KMS may be destroyed, by what all sources hold. */
import { parseUuid } from "../../text/uuid.ts";
import { unknownProvider } from "../../etcd/envelope.ts";
import type { Group, Inventory } from "../../etcd/inventory.ts";

/** A source, for a verdict. */
export interface Examined {
  readonly source: string;
  /** Undefined where the source could not be read. */
  readonly inventory: Inventory | undefined;
}

/** Objects that need a key. */
export interface Need {
  readonly source: string;
  readonly group: Group;
}

/**
 * `yes`: nothing needs it; `no`: something current does; `old-revisions`: only earlier revisions do, in etcd or in a
 * backup; `unknown`: a source could not be read or is empty, or holds values that do not say which key they need.
 */
export type KeyAnswer = "yes" | "no" | "old-revisions" | "unknown";

/** The verdict on one key. */
export interface KeyVerdict {
  readonly keyId: string;
  readonly answer: KeyAnswer;
  readonly current: readonly Need[];
  readonly old: readonly Need[];
  /** Values under KMS v1, which do not name their key. */
  readonly unnamed: readonly Need[];
  /** Sources that could not be read, hold nothing (the prefix may be wrong), or values of an unknown provider. */
  readonly unread: readonly string[];
}

/** Judges a key. */
export function judgeKey(keyId: string, examined: readonly Examined[]): KeyVerdict {
  const needs = (state: "current" | "old", isNeed: (group: Group) => boolean): Need[] =>
    examined.flatMap(({ source, inventory }) =>
      (inventory?.[state].groups ?? []).filter(isNeed).map((group) => ({ source, group })),
    );
  const isUnder = (group: Group): boolean => isSameKey(group.keyId, keyId);
  const current = needs("current", isUnder);
  const old = needs("old", isUnder);
  const unnamed = needs("current", ({ kind }) => kind === "kms-v1");
  const unread = examined.filter(({ inventory }) => !isConclusive(inventory)).map(({ source }) => source);
  return {
    keyId,
    answer: answerOf(current, old, unnamed.length + unread.length),
    current,
    old,
    unnamed,
    unread,
  };
}

function answerOf(current: readonly Need[], old: readonly Need[], unknowns: number): KeyAnswer {
  if (current.length > 0) return "no";
  if (unknowns > 0) return "unknown";
  return old.length > 0 ? "old-revisions" : "yes";
}

/** Values that are cut name no key, and no key can open them; those of an unknown provider may need any. */
function isConclusive(inventory: Inventory | undefined): boolean {
  if (inventory === undefined || inventory.current.objects + inventory.old.objects === 0) return false;
  return !inventory.current.notUnderstood.some(({ reason }) => reason === unknownProvider);
}

/** UUIDs are the same in capitals. */
function isSameKey(a: string, b: string): boolean {
  return a === b || (parseUuid(a) !== undefined && parseUuid(a) === parseUuid(b));
}

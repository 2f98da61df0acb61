/**
 * What a source holds, counted: by resource, provider, key_id and DEK source. Grows with the number of those, not with
 * the number of objects.
 */
import { type Envelope, parseEnvelope } from "./envelope.ts";
import { objectName, parseObjectKey } from "./object-key.ts";
import type { Entry } from "./source.ts";

/** A number of objects, and the revisions between which they were written. */
export interface Count {
  objects: number;
  oldestRevision: number;
  newestRevision: number;
}

/** The objects of one resource under one key of one provider. */
export interface Group extends Count {
  /** As an EncryptionConfiguration names it. */
  readonly resource: string;
  readonly kind: Exclude<Envelope["kind"], "unknown">;
  /** The provider's name, or that of its key; empty for plaintext. */
  readonly provider: string;
  /** With KMS v2 only; empty else. */
  readonly keyId: string;
  /** By their identity (see `dekSourceOf`); with KMS v2 only. */
  readonly dekSources: ReadonlyMap<string, Count>;
  /** The names of the first few. */
  readonly examples: readonly string[];
}

/** A value that is not understood. */
export interface NotUnderstood {
  readonly key: string;
  readonly revision: number;
  readonly reason: string;
}

/** What is counted of one state: what is current, or what is old. */
export interface Holdings {
  readonly objects: number;
  readonly groups: readonly Group[];
  /** At most {@link mostListed}; `notUnderstoodCount` has all. */
  readonly notUnderstood: readonly NotUnderstood[];
  readonly notUnderstoodCount: number;
}

/** What a source holds. */
export interface Inventory {
  /** What exists at the revision that was read. */
  readonly current: Holdings;
  /** Earlier revisions of objects, among them of those that were deleted since. */
  readonly old: Holdings;
  /** Deletions. */
  readonly tombstones: number;
}

/** Most values that a list names. */
export const mostListed = 100_000;
const mostExamples = 3;

interface MutableGroup extends Group {
  readonly dekSources: Map<string, Count>;
  readonly examples: string[];
}

interface Counter {
  objects: number;
  readonly groups: Map<string, MutableGroup>;
  readonly notUnderstood: NotUnderstood[];
  notUnderstoodCount: number;
}

/** Counts what it is given. */
export interface InventoryTaker {
  add(entry: Entry): void;
  take(): Inventory;
}

/** Makes a taker. @param prefix kube-apiserver's --etcd-prefix */
export function createInventoryTaker(prefix: string): InventoryTaker {
  const current = newCounter();
  const old = newCounter();
  let tombstones = 0;
  return {
    add(entry) {
      if (entry.state === "tombstone") tombstones += 1;
      else count(entry.state === "current" ? current : old, entry, prefix);
    },
    take: () => ({ current: holdingsOf(current), old: holdingsOf(old), tombstones }),
  };
}

/**
 * How often kube-apiserver asks the KMS at its next cold start: once for each DEK source under KMS v2. Under KMS v1 each
 * value has one of its own.
 */
export function coldStartDecrypts({ groups }: Holdings): number {
  const sources = new Set<string>();
  let ofV1 = 0;
  for (const { kind, provider, objects, dekSources } of groups) {
    if (kind === "kms-v1") ofV1 += objects;
    for (const source of dekSources.keys()) sources.add(`${provider}:${source}`);
  }
  return sources.size + ofV1;
}

function newCounter(): Counter {
  return { objects: 0, groups: new Map(), notUnderstood: [], notUnderstoodCount: 0 };
}

function count(counter: Counter, { key, value, revision }: Entry, prefix: string): void {
  counter.objects += 1;
  const envelope = parseEnvelope(value);
  if (envelope.kind === "unknown") {
    counter.notUnderstoodCount += 1;
    if (counter.notUnderstood.length < mostListed)
      counter.notUnderstood.push({ key, revision, reason: envelope.reason });
    return;
  }
  const object = parseObjectKey(key, prefix);
  const group = groupFor(counter.groups, object.resource, envelope);
  addTo(group, revision);
  if (group.examples.length < mostExamples) group.examples.push(objectName(object));
  if (envelope.kind !== "kms-v2") return;
  const source = group.dekSources.get(envelope.dekSource) ?? newCount();
  group.dekSources.set(envelope.dekSource, source);
  addTo(source, revision);
}

function groupFor(
  groups: Map<string, MutableGroup>,
  resource: string,
  envelope: Exclude<Envelope, { readonly kind: "unknown" }>,
): MutableGroup {
  const { kind } = envelope;
  const provider = envelope.kind === "plaintext" ? "" : envelope.provider;
  const keyId = envelope.kind === "kms-v2" ? envelope.object.keyId : "";
  const id = JSON.stringify([resource, kind, provider, keyId]);
  const known = groups.get(id);
  if (known !== undefined) return known;
  const made = {
    resource,
    kind,
    provider,
    keyId,
    ...newCount(),
    dekSources: new Map<string, Count>(),
    examples: [],
  };
  groups.set(id, made);
  return made;
}

function newCount(): Count {
  return { objects: 0, oldestRevision: Infinity, newestRevision: 0 };
}

function addTo(counted: Count, revision: number): void {
  counted.objects += 1;
  counted.oldestRevision = Math.min(counted.oldestRevision, revision);
  counted.newestRevision = Math.max(counted.newestRevision, revision);
}

function holdingsOf({ objects, groups, notUnderstood, notUnderstoodCount }: Counter): Holdings {
  const sorted = [...groups.values()].toSorted(
    (a, b) =>
      compare(a.resource, b.resource) ||
      compare(a.kind, b.kind) ||
      compare(a.provider, b.provider) ||
      compare(a.keyId, b.keyId),
  );
  return { objects, groups: sorted, notUnderstood, notUnderstoodCount };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** One source, read and judged: what `audit` prints, and what `reencrypt` ends with. */
import { ProviderError, toProviderError } from "../../errors.ts";
import { createInventoryTaker, type Inventory } from "../../etcd/inventory.ts";
import type { Opener } from "../../etcd/opener.ts";
import type { Progress, Source, SourceFacts } from "../../etcd/source.ts";
import type { KeyVerdict } from "./key-verdict.ts";
import { findProblems, type Problem } from "./problems.ts";
import type { Rules } from "./rules.ts";
import { type VerifyResult, Verifier } from "./verify.ts";

/** What is known of a source that was read to its end. */
export interface SourceReport {
  readonly source: string;
  readonly kind: Source["kind"];
  readonly facts: SourceFacts;
  readonly inventory: Inventory;
  readonly verified: VerifyResult | undefined;
  readonly problems: readonly Problem[];
  /** What was odd about the read. */
  readonly notes: readonly string[];
}

/** A source that could not be read. */
export interface FailedSource {
  readonly source: string;
  readonly kind: Source["kind"];
  readonly error: ProviderError;
}

/** Everything that an audit found. */
export interface Audit {
  readonly sources: readonly (SourceReport | FailedSource)[];
  readonly verdicts: readonly KeyVerdict[];
  /** Nothing is wrong; with keys to be destroyed: each may be. */
  readonly isGood: boolean;
}

/** How a source is audited. */
export interface AuditSourceOptions {
  /** kube-apiserver's --etcd-prefix. */
  readonly prefix: string;
  readonly rules?: Rules | undefined;
  /** Verify with it. */
  readonly opener?: Opener | undefined;
  readonly onProgress?: (progress: Progress) => void;
}

/** Reads a source to its end and judges what it holds. Never throws. */
export async function auditSource(
  source: Source,
  options: AuditSourceOptions,
): Promise<SourceReport | FailedSource> {
  const { name, kind } = source;
  try {
    return { source: name, kind, ...(await readSource(source, options)) };
  } catch (error) {
    return { source: name, kind, error: toProviderError(error) };
  }
}

async function readSource(
  source: Source,
  { prefix, rules, opener, onProgress }: AuditSourceOptions,
): Promise<Omit<SourceReport, "source" | "kind">> {
  const taker = createInventoryTaker(prefix);
  const verifier = opener === undefined ? undefined : new Verifier(opener, prefix);
  const notes: string[] = [];
  const observer = {
    onNote: (note: string) => void notes.push(note),
    ...(onProgress !== undefined && { onProgress }),
  };
  for await (const entry of source.read(observer)) {
    taker.add(entry);
    await verifier?.add(entry);
  }
  const verified = await verifier?.finish();
  const inventory = taker.take();
  const problems = findProblems(inventory, prefix, rules, verified);
  return { facts: source.facts(), inventory, verified, problems, notes };
}

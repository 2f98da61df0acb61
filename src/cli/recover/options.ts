/** The options of `recover`, parsed. */
import type { KmsSettings } from "../etcd/kms.ts";
import type { SourceSettings } from "../etcd/sources.ts";

/** What is asked for; an empty list is everything. */
export interface Filter {
  readonly resources: readonly string[];
  readonly namespaces: readonly string[];
  readonly names: readonly string[];
}

/** What `recover` is run with. */
export interface RecoverOptions {
  readonly sources: SourceSettings;
  readonly filter: Filter;
  /** Undefined: only what is in plaintext can be read. */
  readonly kms: KmsSettings | undefined;
  readonly format: "yaml" | "json";
  /** A folder; undefined: standard output. */
  readonly out: string | undefined;
  readonly isRaw: boolean;
  readonly keepMetadata: boolean;
}

/**
 * What every source of etcd's data gives: one revision of one key after another, as a stream, so that memory does not
 * grow with the number of objects. The sources are live.ts, snapshot.ts, kine.ts and values.ts.
 */

/** `current`: the newest revision of a key that exists; `old`: an earlier one; `tombstone`: the deletion of a key. */
export type EntryState = "current" | "old" | "tombstone";

/** One revision of one key. */
export interface Entry {
  /** The etcd key, as `/registry/secrets/default/name`. */
  readonly key: string;
  /** As stored; empty for a tombstone. */
  readonly value: Uint8Array;
  /** Its mod_revision; 0 where the source does not know it. */
  readonly revision: number;
  readonly state: EntryState;
}

/** How far a read has come. */
export interface Progress {
  readonly done: number;
  /** In the same unit as `done`; 0 where it is not known. */
  readonly total: number;
  /** As `objects`. */
  readonly unit: string;
}

/** What a read reports beside the entries. */
export interface ReadObserver {
  readonly onProgress?: (progress: Progress) => void;
  /** Something that the operator has to know about the read, in one line. */
  readonly onNote?: (note: string) => void;
}

/** What is known of a source once it has been read. */
export interface SourceFacts {
  /** The revision that was read; undefined where the source does not say. */
  readonly revision?: number;
  /** The version of etcd, of the live source. */
  readonly etcdVersion?: string;
}

/** A place to read from. */
export interface Source {
  readonly kind: "live" | "snapshot" | "kine" | "value" | "etcdctl";
  /** For messages: `snapshot backup.db`. */
  readonly name: string;
  /**
   * Reads everything under the prefix, once, in no promised order. A key appears as `current` at most once.
   * @throws ProviderError: ETCD_DATA where the bytes are not valid, ETCD_REFUSED where etcd says no, network errors
   */
  read(observer?: ReadObserver): AsyncIterable<Entry>;
  /** Complete only after a read. */
  facts(): SourceFacts;
}

/** The range of keys under a prefix: kube-apiserver puts a slash before it and one behind it. */
export interface KeyRange {
  /** As `/registry/`. */
  readonly start: string;
  /** The first key behind the range: `/registry0`. */
  readonly end: string;
}

/** The range of what kube-apiserver stores under `--etcd-prefix`. */
export function keyRange(prefix: string): KeyRange {
  const bare = prefix.replaceAll(/^\/+|\/+$/g, "");
  const start = bare === "" ? "/" : `/${bare}/`;
  return { start, end: `${start.slice(0, -1)}0` };
}

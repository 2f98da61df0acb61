/**
 * What `etcdctl snapshot save` writes: a bbolt file with its SHA-256 appended. All revisions of all keys lie in the
 * bucket `key`, by revision (go.etcd.io/etcd, mvcc/revision.go); read from the newest to the oldest, the first that is
 * met of a key is the current one.
 */
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { fromBinary } from "@bufbuild/protobuf";
import { KeyValueSchema, type KeyValue } from "../../gen/etcd/kv_pb.ts";
import { ProviderError } from "../errors.ts";
import { readFailure } from "../net/pem.ts";
import { type Bbolt, type BboltFile, type Element, looksLikeBbolt, openBbolt, readAt } from "./bbolt.ts";
import { digestOf, KeySet } from "./key-set.ts";
import { type Entry, keyRange, type ReadObserver, type Source, type SourceFacts } from "./source.ts";

const sha256Bytes = 32;
/** bbolt files are a multiple of it, so that the appended hash shows (etcdutl, snapshot/v3_snapshot.go). */
const blockBytes = 512;
const chunkBytes = 1024 * 1024;
/** Revision: main (8 bytes), `_`, sub (8 bytes); `t` behind it marks a tombstone. */
const revisionBytes = 17;
/** Most keys that are remembered at once: 64 MiB. With more the file is walked several times. */
const mostKeysAtOnce = 2_000_000;

/** How a snapshot is read. */
export interface SnapshotOptions {
  readonly file: string;
  /** kube-apiserver's --etcd-prefix. */
  readonly prefix: string;
  /** Read a file without a SHA-256 at its end, or with a wrong one: a copy of etcd's own database. */
  readonly skipHashCheck?: boolean;
  /** Most keys that are remembered at once. Default: two million. */
  readonly mostKeysAtOnce?: number;
}

/** A snapshot as a source. Nothing is opened before it is read. */
export function createSnapshotSource(options: SnapshotOptions): Source {
  const name = `snapshot ${options.file}`;
  let facts: SourceFacts = {};
  return {
    kind: "snapshot",
    name,
    facts: () => facts,
    async *read(observer = {}) {
      const descriptor = openFile(options.file, name);
      try {
        const file = { descriptor, size: fstatSync(descriptor).size, name };
        const database = checkFile(file, options.skipHashCheck === true, observer);
        yield* readRevisions(openBbolt(database), database, options, observer, (revision) => {
          facts = { revision };
        });
      } finally {
        closeSync(descriptor);
      }
    },
  };
}

function openFile(path: string, name: string): number {
  try {
    // O_NONBLOCK: a named pipe that nobody writes to would hang.
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (fstatSync(descriptor).isFile()) return descriptor;
    closeSync(descriptor);
  } catch (error) {
    throw new ProviderError("ETCD_DATA", `${name}: ${readFailure(error)}`, { cause: error });
  }
  throw new ProviderError("ETCD_DATA", `${name} is not a file`);
}

/** Names what the file is, if it is not a whole snapshot. @returns the part of it that is bbolt's */
function checkFile(file: BboltFile, skipHashCheck: boolean, observer: ReadObserver): BboltFile {
  const { size, name } = file;
  if (size === 0) throw new ProviderError("ETCD_DATA", `${name} is empty`);
  if (!looksLikeBbolt(file))
    throw new ProviderError("ETCD_DATA", `${name} is not an etcd snapshot${guess(file)}`);
  const hasHash = size % blockBytes === sha256Bytes;
  const database = { ...file, size: hasHash ? size - sha256Bytes : size };
  if (skipHashCheck) return database;
  if (!hasHash)
    throw new ProviderError(
      "ETCD_DATA",
      `${name} has no SHA-256 at its end: it is cut, or it is a copy of etcd's database file, which --skip-hash-check reads`,
    );
  if (!hashOf(database, observer).equals(readAt(file, database.size, sha256Bytes)))
    throw new ProviderError(
      "ETCD_DATA",
      `${name} is damaged or cut: its content does not match the SHA-256 at its end`,
    );
  return database;
}

const signatures: readonly (readonly [hex: string, what: string])[] = [
  ["1f8b", "it is compressed with gzip: decompress it first"],
  ["28b52ffd", "it is compressed with zstd: decompress it first"],
  ["53514c69746520666f726d6174203300", "it is an SQLite database: kine's is read with --kine"],
  ["53616c7465645f5f", "it is encrypted by openssl: decrypt it first"],
  ["504b0304", "it is a ZIP archive: extract the snapshot first"],
];

function guess(file: BboltFile): string {
  const start = readAt(file, 0, 16).toString("hex");
  const known = signatures.find(([hex]) => start.startsWith(hex));
  return known === undefined ? "" : `: ${known[1]}`;
}

function hashOf({ descriptor, size }: BboltFile, { onProgress }: ReadObserver): Buffer {
  const hash = createHash("sha256");
  const chunk = Buffer.allocUnsafe(chunkBytes);
  for (let done = 0; done < size;) {
    const read = readSync(descriptor, chunk, 0, Math.min(chunkBytes, size - done), done);
    if (read === 0) break;
    hash.update(chunk.subarray(0, read));
    done += read;
    onProgress?.({ done, total: size, unit: "bytes verified" });
  }
  return hash.digest();
}

function* readRevisions(
  bbolt: Bbolt,
  file: BboltFile,
  { prefix, mostKeysAtOnce: most = mostKeysAtOnce }: SnapshotOptions,
  { onProgress }: ReadObserver,
  onRevision: (revision: number) => void,
): Generator<Entry> {
  let count = 0;
  for (const { key } of keyBucket(bbolt, file)) {
    if (count === 0) onRevision(Number(revisionOf(key, file)));
    count += 1;
  }
  const passes = Math.max(1, Math.ceil(count / most));
  let pages = 0;
  const onPage = (span: number): void => {
    pages += span;
    onProgress?.({ done: pages, total: bbolt.pages * passes, unit: "pages" });
  };
  const { start } = keyRange(prefix);
  const prefixBytes = Buffer.from(start);
  for (let pass = 0; pass < passes; pass += 1) {
    // Double, for the digests do not spread evenly to the last key.
    const seen = new KeySet(Math.min(count, most * 2));
    for (const element of keyBucket(bbolt, file, onPage)) {
      const { kv, isTombstone, revision } = decode(element, file);
      if (prefixBytes.compare(kv.key, 0, prefixBytes.length) !== 0) continue;
      const digest = digestOf(kv.key);
      if (digest[1] % passes !== pass) continue;
      const isNewest = seen.add(digest);
      const state = isTombstone ? "tombstone" : isNewest ? "current" : "old";
      yield { key: Buffer.from(kv.key).toString("utf8"), value: kv.value, revision, state };
    }
  }
}

function keyBucket(bbolt: Bbolt, { name }: BboltFile, onPage?: (span: number) => void): Generator<Element> {
  const elements = bbolt.descending("key", onPage);
  if (elements !== undefined) return elements;
  throw new ProviderError(
    "ETCD_DATA",
    `${name} is a bbolt file, but not one of etcd: it has no bucket "key"`,
  );
}

function revisionOf(key: Buffer, { name }: BboltFile): bigint {
  const isRevision = key.length >= revisionBytes && key.length <= revisionBytes + 1 && key[8] === 0x5f;
  if (!isRevision) throw new ProviderError("ETCD_DATA", `${name} is damaged: a revision is malformed`);
  return key.readBigUInt64BE(0);
}

interface Revision {
  readonly kv: KeyValue;
  readonly isTombstone: boolean;
  readonly revision: number;
}

function decode({ key, value }: Element, file: BboltFile): Revision {
  const revision = revisionOf(key, file);
  const isTombstone = key.length === revisionBytes + 1;
  const damaged = (what: string, cause?: unknown): ProviderError =>
    new ProviderError("ETCD_DATA", `${file.name} is damaged: ${what} at revision ${revision}`, { cause });
  let kv: KeyValue;
  try {
    kv = fromBinary(KeyValueSchema, value);
  } catch (error) {
    throw damaged("the value cannot be decoded", error);
  }
  if (!isTombstone && kv.modRevision !== revision) throw damaged("the value is of another revision");
  return { kv, isTombstone, revision: Number(revision) };
}

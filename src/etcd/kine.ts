/**
 * What k3s and RKE2 keep in SQLite in place of etcd: kine's one table, a row a revision (github.com/k3s-io/kine). Read
 * in one transaction, so that a k3s that writes meanwhile changes nothing, and nothing is written. Leaves out kine
 * on MySQL and PostgreSQL.
 */
import { existsSync, statSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { ProviderError } from "../errors.ts";
import { type Entry, keyRange, type ReadObserver, type Source, type SourceFacts } from "./source.ts";

/** How a database is read. */
export interface KineOptions {
  readonly file: string;
  /** kube-apiserver's --etcd-prefix. */
  readonly prefix: string;
}

/** How long to wait for a lock, in ms. With k3s's own settings (WAL) there is none to wait for. */
const lockTimeoutMs = 10_000;
const progressEvery = 500;

interface Row {
  readonly id: number;
  readonly name: string;
  readonly deleted: number | null;
  readonly value: Uint8Array | null;
}

/** A kine database as a source. Nothing is opened before it is read. */
export function createKineSource({ file, prefix }: KineOptions): Source {
  const name = `kine ${file}`;
  let facts: SourceFacts = {};
  return {
    kind: "kine",
    name,
    facts: () => facts,
    async *read(observer = {}) {
      const failed = (error: unknown): ProviderError => toError(name, error);
      const database = await open(file, name).catch((error: unknown) => {
        throw failed(error);
      });
      try {
        for (const entry of readRows(database, prefix, observer)) {
          facts = { revision: Math.max(facts.revision ?? 0, entry.revision) };
          yield entry;
        }
      } catch (error) {
        throw failed(error);
      } finally {
        database.close();
      }
    },
  };
}

async function open(file: string, name: string): Promise<import("node:sqlite").DatabaseSync> {
  const facts = statSync(file, { throwIfNoEntry: false });
  if (facts === undefined) throw new ProviderError("ETCD_DATA", `${name}: there is no such file`);
  if (!facts.isFile()) throw new ProviderError("ETCD_DATA", `${name} is not a file`);
  if (facts.size === 0) throw new ProviderError("ETCD_DATA", `${name} is empty`);
  const { DatabaseSync } = await import("node:sqlite");
  // Where nobody has it open there is no write-ahead log, and SQLite would make one beside the file to read it.
  const url = pathToFileURL(file);
  if (!existsSync(`${file}-wal`)) url.searchParams.set("immutable", "1");
  return new DatabaseSync(url, { readOnly: true, timeout: lockTimeoutMs });
}

function* readRows(
  database: import("node:sqlite").DatabaseSync,
  prefix: string,
  { onProgress }: ReadObserver,
): Generator<Entry> {
  const { start, end } = keyRange(prefix);
  database.exec("BEGIN");
  const counted = database
    .prepare("SELECT count(*) AS total FROM kine WHERE name >= ? AND name < ?")
    .get(start, end) as { readonly total: number };
  // SQLite holds no column to its type.
  const rows = database
    .prepare(`SELECT id, CAST(name AS TEXT) AS name, deleted, CAST(value AS BLOB) AS value
       FROM kine WHERE kine.name >= ? AND kine.name < ? ORDER BY kine.name, id DESC`)
    .iterate(start, end) as Iterable<unknown> as Iterable<Row>;
  let done = 0;
  let newestOf: string | undefined;
  for (const { id, name, deleted, value } of rows) {
    const isNewest = name !== newestOf;
    newestOf = name;
    done += 1;
    if (done % progressEvery === 0) onProgress?.({ done, total: counted.total, unit: "rows" });
    const state = (deleted ?? 0) === 0 ? (isNewest ? "current" : "old") : "tombstone";
    yield {
      key: name,
      value: state === "tombstone" ? new Uint8Array() : (value ?? new Uint8Array()),
      revision: id,
      state,
    };
  }
}

/** What SQLite says holds no value of a row. */
function toError(name: string, error: unknown): ProviderError {
  if (error instanceof ProviderError) return error;
  const { message = String(error), errcode } = error as {
    readonly message?: string;
    readonly errcode?: number;
  };
  const what =
    errcode === 26
      ? "is not an SQLite database"
      : /no such (?:table|column)/.test(message)
        ? `is an SQLite database, but not kine's (${message})`
        : `cannot be read: ${message}`;
  return new ProviderError("ETCD_DATA", `${name} ${what}`, { cause: error });
}

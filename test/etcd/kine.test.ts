/** kine's database, made of the revisions of the fixture: whole, while it is written to, cut, and of others. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, test, type TestContext } from "node:test";
import { ProviderError } from "../../src/errors.ts";
import { createKineSource } from "../../src/etcd/kine.ts";
import { createSnapshotSource } from "../../src/etcd/snapshot.ts";
import type { Entry, Source } from "../../src/etcd/source.ts";
import { temporaryFolder } from "../server/harness.ts";
import { fixture } from "./fixture.ts";

const prefix = "/registry";

/** As kine makes it (pkg/drivers/sqlite). */
const schema = `
  PRAGMA journal_mode=WAL;
  CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, name INTEGER, created INTEGER, deleted INTEGER,
    create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB);
  CREATE INDEX kine_name_index ON kine (name);
  CREATE INDEX kine_name_id_index ON kine (name, id);
  INSERT INTO kine (id, name, created, deleted, value) VALUES (1, 'compact_rev_key', 1, 0, x'00');
  INSERT INTO kine (id, name, created, deleted, value) VALUES (2, 'gap-2', 1, 0, NULL);`;

async function entriesOf(source: Source): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const entry of source.read()) entries.push(entry);
  return entries;
}

function linesOf(entries: readonly Entry[]): string[] {
  return entries
    .map(
      ({ key, revision, state, value }) =>
        `${key} ${revision} ${state} ${Buffer.from(value).toString("base64")}`,
    )
    .toSorted();
}

/** A database with every revision of the fixture; open as k3s has it, until it is closed. */
async function makeKine(t: TestContext): Promise<{ readonly file: string; readonly database: DatabaseSync }> {
  const file = path.join(temporaryFolder(t), "state.db");
  const database = new DatabaseSync(file);
  database.exec(schema);
  const insert = database.prepare(
    "INSERT INTO kine (id, name, created, deleted, value) VALUES (?, ?, 0, ?, ?)",
  );
  const entries = await entriesOf(createSnapshotSource({ file: fixture.snapshot, prefix }));
  database.exec("BEGIN");
  // A revision of etcd has several keys at times, and one of kine never has.
  for (const { key, revision, state, value } of entries.toSorted((a, b) => a.revision - b.revision))
    insert.run(revision * 10, key, state === "tombstone" ? 1 : 0, value);
  database.exec("COMMIT");
  return { file, database };
}

describe("A kine database", () => {
  test("has the same current, old and deleted objects as the snapshot that it was made of", async (t) => {
    const { file, database } = await makeKine(t);
    database.close();
    const wanted = (await entriesOf(createSnapshotSource({ file: fixture.snapshot, prefix }))).map(
      (entry) => ({
        ...entry,
        revision: entry.revision * 10,
      }),
    );
    const source = createKineSource({ file, prefix });
    assert.deepEqual(linesOf(await entriesOf(source)), linesOf(wanted));
    assert.equal(source.facts().revision, 2500);
  });

  test("that nobody has open is left alone: no file appears beside it", async (t) => {
    const { file, database } = await makeKine(t);
    database.close();
    const before = readFileSync(file);
    await entriesOf(createKineSource({ file, prefix }));
    assert.deepEqual(readdirSync(path.dirname(file)), ["state.db"]);
    assert.deepEqual(readFileSync(file), before);
  });

  test("is read as it was at the beginning while k3s writes, and k3s need not wait", async (t) => {
    const { file, database } = await makeKine(t);
    const wanted = linesOf(await entriesOf(createKineSource({ file, prefix })));
    const entries: Entry[] = [];
    for await (const entry of createKineSource({ file, prefix }).read()) {
      if (entries.length === 0)
        database.exec(
          "INSERT INTO kine (name, created, deleted, value) VALUES ('/registry/zzz/new', 1, 0, x'7b7d')",
        );
      entries.push(entry);
    }
    assert.deepEqual(linesOf(entries), wanted);
    assert.equal((await entriesOf(createKineSource({ file, prefix }))).length, wanted.length + 1);
    database.close();
  });

  test("that is cut ends in an error, or gives what is true", async (t) => {
    const { file, database } = await makeKine(t);
    database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    database.close();
    const whole = readFileSync(file);
    const truth = linesOf(await entriesOf(createKineSource({ file, prefix })));
    let errors = 0;
    for (let length = 0; length < whole.length; length += 8191) {
      writeFileSync(file, whole);
      truncateSync(file, length);
      try {
        assert.deepEqual(linesOf(await entriesOf(createKineSource({ file, prefix }))), truth);
      } catch (error) {
        assert.ok(error instanceof ProviderError, String(error));
        assert.equal(error.code, "ETCD_DATA");
        errors += 1;
      }
    }
    assert.ok(errors > 10);
  });

  test("may hold values of any type: SQLite holds no column to its own", async (t) => {
    const file = path.join(temporaryFolder(t), "state.db");
    const database = new DatabaseSync(file);
    database.exec(schema);
    database.exec(
      "INSERT INTO kine (name, deleted, value) VALUES ('/registry/a/b/c', NULL, '{}'), ('/registry/a/b/d', 0, 7)",
    );
    database.exec(
      "INSERT INTO kine (name, deleted, value) VALUES ('/registry/a/b/e', 0, NULL), (x'2f', 0, 'x')",
    );
    database.close();
    const entries = await entriesOf(createKineSource({ file, prefix }));
    assert.deepEqual(
      entries.map(({ value }) => Buffer.from(value).toString()),
      ["{}", "7", ""],
    );
  });

  test("is told from what is none", async (t) => {
    const folder = temporaryFolder(t);
    const other = path.join(folder, "other.db");
    const database = new DatabaseSync(other);
    database.exec("CREATE TABLE places (id INTEGER)");
    database.close();
    writeFileSync(
      path.join(folder, "text.db"),
      "not a database at all, but a text that is long enough to be one".repeat(20),
    );
    writeFileSync(path.join(folder, "empty.db"), "");
    for (const [name, pattern] of [
      ["other.db", /is an SQLite database, but not kine's \(no such table: kine\)$/],
      ["text.db", /is not an SQLite database$/],
      ["empty.db", /is empty$/],
      ["none.db", /there is no such file$/],
      [".", /is not a file$/],
    ] as const)
      await assert.rejects(entriesOf(createKineSource({ file: path.join(folder, name), prefix })), pattern);
  });
});

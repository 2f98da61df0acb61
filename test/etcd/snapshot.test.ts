/** Snapshots: the real one whole, and then cut at every length and damaged in every page. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, test } from "node:test";
import { ProviderError } from "../../src/errors.ts";
import { createSnapshotSource, type SnapshotOptions } from "../../src/etcd/snapshot.ts";
import type { Entry } from "../../src/etcd/source.ts";
import { fixture, liveValues } from "./fixture.ts";

const whole = readFileSync(fixture.snapshot);
const pageSize = 4096;
const folder = mkdtempSync(path.join(tmpdir(), "okms-snapshot-"));
const file = path.join(folder, "snapshot.db");
after(() => rmSync(folder, { recursive: true }));

async function readFile(options: Partial<SnapshotOptions> = {}): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const entry of createSnapshotSource({ file, prefix: "/registry", ...options }).read())
    entries.push(entry);
  return entries;
}

async function read(bytes: Buffer, options?: Partial<SnapshotOptions>): Promise<Entry[]> {
  writeFileSync(file, bytes);
  return readFile(options);
}

/** What a read came to, in a form that can be compared; values by their hash. */
async function outcome(bytes: Buffer, options?: Partial<SnapshotOptions>): Promise<string> {
  try {
    const entries = await read(bytes, options);
    return entries.map(({ key, revision, state }) => `${key} ${revision} ${state}`).join("\n");
  } catch (error) {
    assert.ok(error instanceof ProviderError, `not an error of its own: ${(error as Error).stack}`);
    assert.equal(error.code, "ETCD_DATA");
    assert.match(error.message, /^snapshot \/.*snapshot\.db /);
    return "error";
  }
}

/** The bytes with the SHA-256 that fits them. */
function sealed(database: Buffer): Buffer {
  return Buffer.concat([database, createHash("sha256").update(database).digest()]);
}

const database = whole.subarray(0, -32);

/** The root bucket's name for the keys, changed. */
function renamedBucket(): Buffer {
  const bytes = Buffer.from(database);
  for (let at = bytes.indexOf("key"); at !== -1; at = bytes.indexOf("key", at + 1)) bytes.write("kez", at);
  return bytes;
}

/** A number of elements that is too low, or a key within bounds that is another: no structure can show that. */
function assertSubtle(got: string, truth: string): void {
  const known = new Set(truth.split("\n").map((line) => line.replace(/ \w+$/, "")));
  const strange = got.split("\n").filter((line) => !known.has(line.replace(/ \w+$/, "")));
  assert.ok(strange.length <= 1, `${strange.length} entries that were never there: ${strange[0]}`);
}

function sortedLines(entries: readonly Entry[]): string[] {
  return entries.map(({ key, revision, state }) => `${key} ${revision} ${state}`).toSorted();
}

describe("A snapshot of a real etcd", () => {
  test("has as current what etcd itself gave at the same revision", async () => {
    const entries = await readFile({ file: fixture.snapshot });
    const current = new Map(
      entries.filter(({ state }) => state === "current").map((entry) => [entry.key, entry]),
    );
    for (const { key, value } of liveValues()) {
      const name = Buffer.from(key, "base64").toString();
      assert.deepEqual(Buffer.from(current.get(name)?.value ?? []), Buffer.from(value, "base64"), name);
    }
    const keys = [...current.keys()].filter((key) =>
      /^\/registry\/(secrets|configmaps|example\.com\/widgets)\//.test(key),
    );
    assert.equal(keys.length, liveValues().length);
  });

  test("tells old revisions and tombstones from what is current", async () => {
    const entries = await readFile({ file: fixture.snapshot });
    const states = (key: string): string[] =>
      entries.filter((entry) => entry.key === key).map(({ state }) => state);
    assert.deepEqual(states("/registry/secrets/team-b/rewritten"), ["current", "old"]);
    assert.deepEqual(states("/registry/secrets/team-b/gone-1"), ["tombstone", "old"]);
  });

  test("gives the same, whatever the number of keys that are remembered at once", async () => {
    const once = sortedLines(await readFile({ file: fixture.snapshot }));
    assert.deepEqual(sortedLines(await readFile({ file: fixture.snapshot, mostKeysAtOnce: 50 })), once);
  });

  test("holds nothing under another prefix", async () => {
    assert.deepEqual(await readFile({ file: fixture.snapshot, prefix: "/other" }), []);
  });
});

describe("A file that is not a whole snapshot is named as what it is:", () => {
  for (const [what, bytes, pattern] of [
    ["empty", Buffer.alloc(0), /is empty$/],
    ["gzip", Buffer.from("1f8b0800", "hex"), /compressed with gzip/],
    ["SQLite", Buffer.from("SQLite format 3\0............"), /--kine/],
    ["text", Buffer.from("hello"), /is not an etcd snapshot$/],
    ["a copy of the database file", database, /no SHA-256 at its end.*--skip-hash-check/],
    ["cut by a block", Buffer.concat([whole.subarray(0, -512)]), /does not match the SHA-256/],
    ["another bbolt file", sealed(renamedBucket()), /no bucket "key"/],
  ] as const)
    test(what, async () => {
      await assert.rejects(read(bytes), (error) => {
        assert.ok(error instanceof ProviderError);
        assert.match(error.message, pattern);
        return true;
      });
    });

  test("missing, and a folder", async () => {
    await assert.rejects(readFile({ file: path.join(folder, "none") }), /none: there is no such file/);
    await assert.rejects(readFile({ file: folder }), /is not a file/);
  });
});

describe("A damaged snapshot ends in an error:", () => {
  test("cut at any length", async () => {
    for (let length = 0; length < whole.length; length += length < 2 * pageSize ? 97 : 1021)
      assert.equal(await outcome(whole.subarray(0, length)), "error", `cut at ${length}`);
  });

  test("with a byte changed in any page", async () => {
    for (let page = 0; page * pageSize < whole.length; page += 1)
      for (const at of [0, 8, 10, 12, 20, 1000, 4095]) {
        const bytes = Buffer.from(whole);
        const offset = Math.min(page * pageSize + at, whole.length - 1);
        bytes[offset] = (bytes[offset] ?? 0) ^ 0x5a;
        assert.equal(await outcome(bytes), "error", `byte ${offset}`);
      }
  });
});

/** The SHA-256 fits, so that only the structure is left to tell: it must hold without its help. */
describe("A snapshot whose structure is damaged ends in an error, or gives what is true:", () => {
  test("each header and element of each page, changed", async () => {
    const truth = await outcome(whole);
    let errors = 0;
    for (let page = 0; page * pageSize < database.length; page += 1)
      for (const at of [0, 8, 10, 12, 16, 20, 24, 28, 40]) {
        const flip = (page + at) % 3 === 0 ? 0x01 : 0xff;
        const bytes = Buffer.from(database);
        bytes[page * pageSize + at] = (bytes[page * pageSize + at] ?? 0) ^ flip;
        const got = await outcome(bytes, { skipHashCheck: true });
        if (got === "error") errors += 1;
        else if (got !== truth) assertSubtle(got, truth);
      }
    assert.ok(errors > 200, `only ${errors} were found`);
  });

  test("cut at any page", async () => {
    const truth = await outcome(whole);
    for (let length = 0; length < database.length; length += pageSize / 2) {
      const got = await outcome(database.subarray(0, length), { skipHashCheck: true });
      // Behind the last page in use nothing is lost.
      assert.ok(got === "error" || got === truth, `cut at ${length}`);
    }
  });

  test("with one page in the place of another", async () => {
    const pages = database.length / pageSize;
    for (let from = 2; from < pages; from += 3)
      for (const to of [2, 3, 5, Math.floor(pages / 2), pages - 1]) {
        if (to === from) continue;
        const bytes = Buffer.from(database);
        database.copy(bytes, to * pageSize, from * pageSize, (from + 1) * pageSize);
        const truth = await outcome(whole);
        const got = await outcome(bytes, { skipHashCheck: true });
        assert.ok(got === "error" || got === truth, `page ${from} at ${to}`);
      }
  });

  test("with a loop in its tree", async () => {
    const bytes = Buffer.from(database);
    let loops = 0;
    for (let page = 2; page * pageSize < bytes.length; page += 1) {
      const at = page * pageSize;
      if (bytes.readUInt16LE(at + 8) !== 1) continue;
      bytes.writeBigUInt64LE(BigInt(page), at + 24);
      loops += 1;
    }
    assert.ok(loops > 0, "the tree has no branch");
    assert.equal(await outcome(bytes, { skipHashCheck: true }), "error");
  });
});

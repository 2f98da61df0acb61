import assert from "node:assert/strict";
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { openKeyStore } from "./key-store.ts";

test("a store opened a second time has the same keys, with material, dates and attributes", async (t) => {
  const folder = path.join(temporaryFolder(t), "keys");
  const first = openKeyStore(folder);
  const made = first.create({ name: "seed", lengthBits: 128 });
  first.update(made.id, { attributes: { "x-owner": ["00"] }, state: "Deactivated" });
  first.remove(first.create().id);
  const again = openKeyStore(folder);
  assert.equal(again.list().length, 1);
  const kept = again.get(made.id);
  assert.deepEqual(kept, first.get(made.id));
  assert.ok(kept?.material.equals(made.material));
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
  for (const file of await readdir(folder))
    assert.equal((await stat(path.join(folder, file))).mode & 0o777, 0o600);
});

test("a key found by name is found by each of its names, and beside others of that name", () => {
  const keys = openKeyStore();
  const one = keys.create({ name: "seed" });
  const two = keys.create({ name: "other" });
  keys.update(two.id, { names: ["other", "seed"] });
  assert.deepEqual(
    keys.byName("seed").map((key) => key.id),
    [one.id, two.id],
  );
  assert.deepEqual(keys.byName("SEED"), []);
});

test("destroying a key wipes its material and notes when", () => {
  const keys = openKeyStore();
  const key = keys.create();
  const destroyed = keys.update(key.id, { state: "Destroyed" });
  assert.ok(key.material.every((byte) => byte === 0));
  assert.ok(destroyed.stateDates.Destroyed instanceof Date);
  assert.ok(destroyed.stateDates.Active instanceof Date);
});

test("neither inspection nor JSON of a key shows its material", () => {
  const key = openKeyStore().create();
  const shown = inspect(key, { depth: 9 }) + JSON.stringify(key);
  assert.ok(!shown.includes("material"));
  assert.ok(!shown.includes(key.material.toString("hex").slice(0, 8)));
});

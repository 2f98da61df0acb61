/** Folders that are made, and the paths where none can be. */
import assert from "node:assert/strict";
import { statSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { makeFolder } from "../../src/process/make-folder.ts";
import { temporaryFolder } from "../server/harness.ts";

test("a folder is made with those above it, and the topmost new one is told", async (t) => {
  const base = temporaryFolder(t);
  const folder = path.join(base, "a/b/c");
  assert.equal(await makeFolder(folder, 0o700), path.join(base, "a"));
  assert.equal(statSync(path.join(base, "a/b")).mode & 0o777, 0o700);
  assert.equal(await makeFolder(folder), undefined);
});

test("a folder behind a symbolic link is there already", async (t) => {
  const base = temporaryFolder(t);
  symlinkSync(base, path.join(base, "link"));
  assert.equal(await makeFolder(path.join(base, "link")), undefined);
  assert.equal(await makeFolder(path.join(base, "link/a")), path.join(base, "link/a"));
});

test("a file in the way, and a link that leads nowhere, are errors", async (t) => {
  const base = temporaryFolder(t);
  writeFileSync(path.join(base, "file"), "");
  symlinkSync(path.join(base, "gone"), path.join(base, "link"));
  await assert.rejects(makeFolder(path.join(base, "file")), { code: "EEXIST" });
  await assert.rejects(makeFolder(path.join(base, "file/a")), { code: "ENOTDIR" });
  await assert.rejects(makeFolder(path.join(base, "link")), { code: "ENOENT" });
});

test(
  "a file system that creates nothing is an error, and not tried for ever",
  { timeout: 10_000 },
  async () => {
    await assert.rejects(makeFolder("/proc/nothere/a"), { code: "ENOENT" });
  },
);

/** Archives: the same bytes each time, and read by tar itself. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { tar } from "../../packaging/tar.ts";
import type { Entry } from "../../packaging/tar.ts";

const long = `${"folder/".repeat(20)}file`;
const entries: readonly Entry[] = [
  { path: "b", kind: "file", mode: 0o755, data: Buffer.from("x".repeat(513)) },
  { path: "a", kind: "folder", mode: 0o750 },
  { path: "c", kind: "link", target: "b" },
  { path: long, kind: "file", mode: 0o644, data: Buffer.alloc(0) },
];

test("tar lists what was put in, owned by root and dated as asked, in the order of the paths", () => {
  const listed = execFileSync("tar", ["--list", "--verbose", "--utc", "--file", "-"], {
    input: tar(entries, 86_400),
    encoding: "utf8",
    env: { ...process.env, TZ: "UTC" },
  });
  const rows = listed
    .trim()
    .split("\n")
    .map((line) => line.replaceAll(/\s+/g, " "));
  assert.deepEqual(rows, [
    "drwxr-x--- root/root 0 1970-01-02 00:00 a/",
    "-rwxr-xr-x root/root 513 1970-01-02 00:00 b",
    "lrwxrwxrwx root/root 0 1970-01-02 00:00 c -> b",
    `-rw-r--r-- root/root 0 1970-01-02 00:00 ${long}`,
  ]);
});

test("the order in which they are given makes no difference", () => {
  assert.deepEqual(tar(entries.toReversed(), 0), tar(entries, 0));
});

test("a path that no header holds is an error", () => {
  assert.throws(() => tar([{ path: "x".repeat(101), kind: "folder", mode: 0o755 }], 0), RangeError);
});

/** The command lines of `npm run release` and `npm run host`: what is wrong is told beside the usage, before anything is done. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { describe, test } from "node:test";
import { needPrograms } from "../../packaging/script.ts";

const root = path.resolve(import.meta.dirname, "../..");

const rows: readonly (readonly [script: string, args: readonly string[], complaint: string])[] = [
  ["packaging/main.ts", ["--verfy"], "Unknown option '--verfy'"],
  ["packaging/main.ts", ["x64"], "Unexpected argument 'x64'"],
  ["packaging/main.ts", ["--architecture=amd64"], "--architecture amd64: must be x64 or arm64"],
  ["test/host/main.ts", ["--pod"], "Unknown option '--pod'"],
  ["test/host/main.ts", ["--only=pods"], "--only pods: must be host or image or pod"],
  ["test/host/main.ts", ["--suite=sid"], "--suite sid: must be bullseye or bookworm or trixie"],
];

describe("a script of the release", () => {
  for (const [script, args, complaint] of rows)
    test(`${script} ${args.join(" ")}: ${complaint}`, () => {
      const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
        cwd: root,
        encoding: "utf8",
      });
      assert.equal(stdout, "");
      assert.equal(stderr.split("\n")[0], complaint);
      assert.match(stderr, /^npm run (?:release|host) -- \[/m);
      assert.equal(status, 2);
    });

  for (const script of ["packaging/main.ts", "test/host/main.ts"])
    test(`${script} --help prints the usage alone`, () => {
      const { status, stdout, stderr } = spawnSync(process.execPath, [script, "--help"], {
        cwd: root,
        encoding: "utf8",
      });
      assert.equal(stderr, "");
      assert.match(stdout, /^npm run (?:release|host) -- \[/);
      assert.equal(status, 0);
    });

  test("names every program that is missing, and where it comes from", () => {
    assert.throws(
      () => needPrograms({ sh: "any system", "no-such-1": "Debian package one", "no-such-2": "two" }),
      {
        message: "not on PATH: no-such-1 (Debian package one), no-such-2 (two)",
      },
    );
  });
});

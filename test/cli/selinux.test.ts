/** Advice where SELinux may be what refuses a permission. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { selinuxAdvice } from "../../src/cli/selinux.ts";
import { temporaryFolder } from "../server/harness.ts";

const rows: readonly (readonly [what: string, content: string | undefined, advice: RegExp])[] = [
  ["enforcing", "1", /^; SELinux enforces its policy here: ausearch/],
  ["permissive", "0", /^$/],
  ["not there", undefined, /^$/],
];
for (const [what, content, advice] of rows)
  test(`where SELinux is ${what}, the advice is ${String(advice)}`, (t) => {
    const file = path.join(temporaryFolder(t), "enforce");
    if (content !== undefined) writeFileSync(file, content);
    assert.match(selinuxAdvice(file), advice);
  });

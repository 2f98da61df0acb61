/** `check` without an earlier value to try; test/e2e/key-changed.test.ts has what it says of one. */
import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { checkEarlierValue } from "../../src/cli/check/earlier-value.ts";
import { failed, renderFinding } from "../../src/cli/check/finding.ts";
import { createSampleFile } from "../../src/server/key/sample-file.ts";
import { temporaryFolder } from "../server/harness.ts";
import { createLocalEncryptor } from "../server/local-encryptor.ts";

const context = { signal: new AbortController().signal, deadline: performance.now() + 10_000 };

describe("an earlier value", () => {
  test("is not looked for without --state-dir", async () => {
    assert.equal(await checkEarlierValue(createLocalEncryptor(), "key-1", undefined, context), undefined);
  });

  test("is not there yet before serve has run", async (t) => {
    const finding = await checkEarlierValue(createLocalEncryptor(), "key-1", temporaryFolder(t), context);
    assert.equal(finding?.status, "ok");
    assert.match(finding.message, /none of this key yet/);
  });

  test("in a file that others may write to is a warning", async (t) => {
    const folder = temporaryFolder(t);
    const file = createSampleFile(folder);
    await file.write([]);
    chmodSync(file.path, 0o666);
    const finding = await checkEarlierValue(createLocalEncryptor(), "key-1", folder, context);
    assert.equal(finding?.status, "warning");
    assert.ok(finding.message.endsWith(`${path.basename(file.path)}: other users own it or may write to it`));
  });
});

test("what a KMS says in a finding is one line of bounded length, and steers no terminal", () => {
  const text = renderFinding(
    failed("key", `key a\n\u001b[31m\u202eb ${"x".repeat(5000)}`, "ask\u009b it"),
    5,
  );
  assert.match(text, /^✖ key {4}key a\uFFFD\uFFFD\[31m\uFFFDb x+…\n {9}→ ask\uFFFD it\n$/);
  assert.ok(text.length < 2100);
});

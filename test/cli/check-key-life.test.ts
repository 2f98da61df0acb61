/** What `check` says of a key's dates; test/e2e/key-changed.test.ts has what it says of an earlier value. */
import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { checkEarlierValue, checkState } from "../../src/cli/check/key-life.ts";
import { createSampleFile } from "../../src/server/key/sample-file.ts";
import { temporaryFolder } from "../server/harness.ts";
import { createLocalEncryptor } from "../server/local-encryptor.ts";

const now = Date.parse("2026-06-01T00:00:00Z");
const inDays = (days: number): Date => new Date(now + days * 86_400_000);
const context = { signal: new AbortController().signal, deadline: performance.now() + 10_000 };

describe("the state of an active key", () => {
  for (const [what, dates, status, message] of [
    ["no dates", undefined, "ok", /^active$/],
    ["no date that ends its use", { processStart: inDays(-1) }, "ok", /^active$/],
    [
      "a date far away",
      { deactivation: inDays(90) },
      "ok",
      /^active until its Deactivation Date, 2026-08-30T.* \(90 days\)$/,
    ],
    ["a date that is near", { deactivation: inDays(29) }, "warning", /Deactivation Date.*\(29 days\)/],
    [
      "two dates: the earlier one counts",
      { deactivation: inDays(90), protectStop: inDays(5) },
      "warning",
      /until its Protect Stop Date.*\(5 days\)/,
    ],
  ] as const)
    test(`with ${what} is ${status}`, () => {
      const finding = checkState({ keyId: "a", ...(dates !== undefined && { dates }) }, now);
      assert.equal(finding.status, status);
      assert.match(finding.message, message);
      assert.equal(finding.advice !== undefined, status !== "ok");
    });
});

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
    assert.ok(finding.message.includes(path.basename(file.path)));
  });
});

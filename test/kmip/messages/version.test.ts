/** Protocol versions: their order, their spelling, and what may not be sent to an old one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  compareVersions,
  formatVersion,
  isAtLeast,
  parseVersion,
  requireVersion,
  supportedVersions,
} from "../../../src/kmip/version.ts";

test("1.4 down to 1.0 are spoken, the newest first", () => {
  assert.deepEqual(supportedVersions.map(formatVersion), ["1.4", "1.3", "1.2", "1.1", "1.0"]);
});

test("a version reads as it is written", () => {
  for (const version of supportedVersions) assert.deepEqual(parseVersion(formatVersion(version)), version);
});

for (const text of ["", "1", "1.5", "2.0", "1.4 ", "01.4", "1.4.0", "-1.4"])
  test(`"${text}" is not a supported version`, () => {
    assert.throws(() => parseVersion(text), { code: "KMIP_VERSION" });
  });

test("the major version counts before the minor one", () => {
  const sorted = [
    { major: 2, minor: 0 },
    { major: 1, minor: 4 },
    { major: 1, minor: 10 },
    { major: 1, minor: 0 },
  ].toSorted(compareVersions);
  assert.deepEqual(sorted.map(formatVersion), ["1.0", "1.4", "1.10", "2.0"]);
  assert.equal(isAtLeast({ major: 2, minor: 0 }, { major: 1, minor: 4 }), true);
  assert.equal(isAtLeast({ major: 1, minor: 3 }, { major: 1, minor: 4 }), false);
});

test("a thing too new for a version is refused by its name", () => {
  requireVersion("Comment", parseVersion("1.4"), parseVersion("1.4"));
  assert.throws(() => requireVersion("Comment", parseVersion("1.4"), parseVersion("1.0")), {
    code: "KMIP_VERSION",
    message: "Comment exists from KMIP 1.4 on; KMIP 1.0 is in use",
    details: { what: "Comment", since: "1.4", version: "1.0" },
  });
});

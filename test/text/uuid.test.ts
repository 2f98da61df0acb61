import assert from "node:assert/strict";
import { test } from "node:test";
import { parseUuid } from "../../src/text/uuid.ts";

const usual = "156b5d44-0c3e-4f6a-9a39-2f0f6f0b7d11";

for (const text of [
  usual,
  usual.toUpperCase(),
  `urn:uuid:${usual}`,
  `URN:UUID:${usual.toUpperCase()}`,
  `{${usual}}`,
  usual.replaceAll("-", ""),
])
  test(`${text} is a UUID`, () => {
    assert.equal(parseUuid(text), usual);
  });

for (const text of [
  "",
  usual.slice(1),
  `${usual}0`,
  `{${usual}`,
  `${usual}}`,
  usual.replace("-", ""),
  usual.replace("1", "g"),
  ` ${usual}`,
  `${usual}\n`,
])
  test(`${JSON.stringify(text)} is none`, () => {
    assert.equal(parseUuid(text), undefined);
  });

/** How long something lasted, in words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { elapsedText } from "../../src/text/elapsed.ts";

const minute = 60_000;
for (const [ms, text] of [
  [0, "0.0 s"],
  [440, "0.4 s"],
  [9_949, "9.9 s"],
  [9_950, "10 s"],
  [59_400, "59 s"],
  [59_600, "1 min 0 s"],
  [200_000, "3 min 20 s"],
  [60 * minute, "1 h 0 min"],
  [312 * minute, "5 h 12 min"],
  [51 * 60 * minute, "2 d 3 h"],
] as const)
  test(`${ms} ms are ${text}`, () => assert.equal(elapsedText(ms), text));

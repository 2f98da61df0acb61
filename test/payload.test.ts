/** What a server says of a failure is printed without what it may quote. */
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { test } from "node:test";
import { withoutPayload } from "../src/payload.ts";

const seed = randomBytes(32);
for (const form of ["hex", "base64", "base64url"] as const)
  test(`a seed in ${form} is replaced by its length`, () => {
    const text = seed.toString(form);
    assert.equal(
      withoutPayload(`bad data "${text}", sorry`),
      `bad data "[${text.length} characters]", sorry`,
    );
  });

test("words, numbers and a key's UUID stay", () => {
  const text = `key ${randomUUID()} not found (0x00000037), at 127.0.0.1:5696`;
  assert.equal(withoutPayload(text), text);
});

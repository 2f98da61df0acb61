/** The embedded KMS's JWE: what it seals it opens, and nothing else. */
import assert from "node:assert/strict";
import { generateKeySync, randomUUID } from "node:crypto";
import { test } from "node:test";
import { jweHeader, openJwe, sealJwe } from "./jwe.ts";

for (const bytes of [16, 24, 32])
  test(`a JWE under a key of ${bytes * 8} bits opens to what was sealed`, () => {
    const key = { id: randomUUID(), secret: generateKeySync("aes", { length: bytes * 8 }) };
    const jwe = sealJwe(key, Buffer.from("seed"));
    assert.equal(openJwe(key, jwe)?.toString(), "seed");
    assert.deepEqual(jweHeader(jwe), { alg: "dir", enc: `A${bytes * 8}GCM`, kid: key.id });
  });

test("every character of a JWE counts", () => {
  const key = { id: randomUUID(), secret: generateKeySync("aes", { length: 256 }) };
  const jwe = sealJwe(key, Buffer.from("seed"));
  for (let index = 0; index < jwe.length; index += 1) {
    const changed = jwe[index] === "A" ? "B" : "A";
    assert.equal(
      openJwe(key, jwe.slice(0, index) + changed + jwe.slice(index + 1)),
      undefined,
      `at ${index}`,
    );
    assert.equal(openJwe(key, jwe.slice(0, index)), undefined, `cut at ${index}`);
  }
});

test("a JWE of another key, or of the same id of other bytes, does not open", () => {
  const key = { id: randomUUID(), secret: generateKeySync("aes", { length: 256 }) };
  const jwe = sealJwe(key, Buffer.from("seed"));
  assert.equal(openJwe({ ...key, id: randomUUID() }, jwe), undefined);
  assert.equal(openJwe({ ...key, secret: generateKeySync("aes", { length: 256 }) }, jwe), undefined);
});

test("what is no JWE has no header", () => {
  for (const text of ["", ".", "e30", "!!!!", "bnVsbA"]) assert.ok(!jweHeader(text)?.["kid"], text);
});

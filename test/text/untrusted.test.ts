/** What a server says of a failure is printed without what it may quote. */
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { test } from "node:test";
import { withoutPayload } from "../../src/text/untrusted.ts";

const seed = randomBytes(32);
for (const form of ["hex", "base64", "base64url"] as const)
  test(`a seed in ${form} is replaced by its length`, () => {
    const text = seed.toString(form);
    assert.equal(
      withoutPayload(`bad data "${text}", sorry`),
      `bad data "[${text.length} characters]", sorry`,
    );
  });

const bytes = [...seed];
const hex = bytes.map((byte) => byte.toString(16).padStart(2, "0"));
const spelled: [string, string][] = [
  ["as Python prints bytes", `b'${bytes.map(pythonByte).join("")}'`],
  ["as Go prints a slice", `[${bytes.join(" ")}]`],
  ["as Go quotes a string", `"${hex.map((byte) => `\\x${byte}`).join("")}"`],
  ["as Java prints an array", `[${[...Int8Array.from(seed)].join(", ")}]`],
  ["as JSON has an array", JSON.stringify(bytes)],
  ["in hexadecimal with spaces", hex.join(" ")],
  ["in hexadecimal with colons", hex.join(":")],
  ["in hexadecimal as C has it", hex.map((byte) => `0x${byte}`).join(", ")],
  ["in per cent", hex.map((byte) => `%${byte}`).join("")],
];
function pythonByte(byte: number): string {
  if (byte > 0x20 && byte < 0x7f && byte !== 0x27 && byte !== 0x5c) return String.fromCharCode(byte);
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}
for (const [how, text] of spelled)
  test(`a seed ${how} leaves nothing of itself`, () => {
    assert.match(withoutPayload(`bad data ${text}, sorry`), /^bad data b?\[?\[\d+ characters\]\]?,? ?sorry$/);
  });

test("words, numbers and a key's UUID stay", () => {
  for (const text of [
    `key ${randomUUID()} not found (0x00000037), at 127.0.0.1:5696`,
    "at [2001:db8::1]:5696, on 2026-11-25 15:58:16, code 22, 3 of 7 tries",
    'attribute "x-rack" is not known',
  ])
    assert.equal(withoutPayload(text), text);
});

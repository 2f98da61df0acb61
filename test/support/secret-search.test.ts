/** The search for secrets finds what a careless line of code would print: else a test that finds nothing proves nothing. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import { findSecrets } from "./secret-search.ts";

const words = "a seed of 32 printable characters".slice(0, 32);
const escaped = (bytes: Buffer, escape: (byte: number) => string): string => [...bytes].map(escape).join("");
const hex = (byte: number): string => byte.toString(16).padStart(2, "0");

/** Without a backslash: how often one was doubled cannot be told. */
const random = (): Buffer => Buffer.from(randomBytes(32).map((byte) => (byte === 0x5c ? 0 : byte)));

const careless: readonly (readonly [how: string, print: (bytes: Buffer) => string])[] = [
  ["hexadecimal", (bytes) => bytes.toString("hex")],
  ["hexadecimal in capitals with colons", (bytes) => [...bytes].map(hex).join(":").toUpperCase()],
  ["inspect of a Buffer", (bytes) => inspect(bytes)],
  ["inspect of a Uint8Array", (bytes) => inspect({ plaintext: new Uint8Array(bytes) })],
  ["inspect of an error's field", (bytes) => inspect(Object.assign(new Error("x"), { data: bytes }))],
  ["a C array", (bytes) => [...bytes].map((byte) => `0x${hex(byte)}`).join(", ")],
  ["base64", (bytes) => bytes.toString("base64")],
  ["base64url", (bytes) => bytes.toString("base64url")],
  ["base64 of a message, one byte in", (bytes) => Buffer.concat([randomBytes(1), bytes]).toString("base64")],
  ["base64 of a message, two bytes in", (bytes) => Buffer.concat([randomBytes(2), bytes]).toString("base64")],
  ["base64 on lines of 20", (bytes) => bytes.toString("base64").replaceAll(/.{20}/g, "$&\n")],
  ["String of a Uint8Array", (bytes) => String(new Uint8Array(bytes))],
  ["JSON of a Buffer", (bytes) => JSON.stringify(bytes)],
  ["JSON of a Uint8Array", (bytes) => JSON.stringify(new Uint8Array(bytes))],
  ["JSON on many lines", (bytes) => JSON.stringify([...bytes], undefined, 2)],
  ["Latin-1", (bytes) => bytes.toString("latin1")],
  ["Latin-1 in JSON", (bytes) => JSON.stringify(bytes.toString("latin1"))],
  ["Latin-1 in JSON in JSON", (bytes) => JSON.stringify({ error: JSON.stringify(bytes.toString("latin1")) })],
  ["\\x escapes", (bytes) => escaped(bytes, (byte) => `\\x${hex(byte)}`)],
  ["\\u escapes", (bytes) => escaped(bytes, (byte) => `\\u00${hex(byte)}`)],
  ["octal escapes", (bytes) => escaped(bytes, (byte) => `\\${byte.toString(8).padStart(3, "0")}`)],
  ["percent escapes", (bytes) => escaped(bytes, (byte) => `%${hex(byte)}`)],
];

for (const [how, print] of careless)
  describe(how, () => {
    test("is found, at random and in words, and part of it too", () => {
      for (const bytes of [random(), Buffer.from(words)]) {
        const secrets = [{ name: "seed", bytes }];
        assert.notDeepEqual(findSecrets(`before ${print(bytes)} after`, secrets), [], "the whole");
        if (how !== "JSON of a Uint8Array")
          assert.notDeepEqual(
            findSecrets(`before ${print(bytes.subarray(5, 28))} after`, secrets),
            [],
            "a part",
          );
      }
    });

    test("of other bytes is none", () => {
      const secrets = [{ name: "seed", bytes: randomBytes(32) }];
      assert.deepEqual(findSecrets(print(randomBytes(4096)), secrets), []);
    });
  });

test("what is found is told by its name, and not by its bytes", () => {
  const bytes = Buffer.from(words);
  const told = findSecrets(words, [{ name: "seed 1", bytes }]);
  assert.deepEqual(told, ["seed 1 in characters", "seed 1 in escaped characters"]);
});

test("what is too short to be told from chance is refused", () => {
  assert.throws(() => findSecrets("", [{ name: "PIN", bytes: randomBytes(4) }]), /PIN is too short/);
});

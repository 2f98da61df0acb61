/** Every vector both ways, and cut at every length. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TtlvError } from "../../../src/errors.ts";
import { decodeItem } from "../../../src/kmip/ttlv/reader.ts";
import { encodeItem } from "../../../src/kmip/ttlv/writer.ts";
import { capturedFrames, encryptRequest, fromHex, toHex, vectors } from "./vectors.ts";

describe("every vector", () => {
  for (const { name, item, hex } of vectors) {
    test(`${name} decodes to its item`, () => {
      assert.deepEqual(decodeItem(fromHex(hex)), item);
    });
    test(`${name} encodes to its bytes`, () => {
      assert.equal(toHex(encodeItem(item)), toHex(fromHex(hex)));
    });
    test(`${name} cut at any length is truncated`, () => {
      const whole = fromHex(hex);
      for (let length = 0; length < whole.length; length += 1)
        assert.throws(
          () => decodeItem(whole.subarray(0, length)),
          (error) => error instanceof TtlvError && error.code === "TTLV_TRUNCATED" && error.offset <= length,
          `cut at ${length}`,
        );
    });
  }
});

describe("frames captured from PyKMIP", () => {
  for (const { name, hex } of capturedFrames())
    test(`${name} decodes and encodes back to the same bytes`, () => {
      assert.equal(toHex(encodeItem(decodeItem(fromHex(hex)))), hex);
    });
  test("are there for every operation", () => {
    assert.ok(capturedFrames().length >= 50);
  });
});

describe("memory", () => {
  test("what is decoded does not change when the buffer that it came in is reused", () => {
    const input = fromHex(encryptRequest.hex);
    const decoded = decodeItem(input);
    input.fill(0);
    assert.deepEqual(decoded, encryptRequest.item);
  });

  test("a message in the middle of a larger buffer decodes", () => {
    const input = fromHex(`ffffff ${encryptRequest.hex} ffffff`);
    assert.deepEqual(decodeItem(input.subarray(3, -3)), encryptRequest.item);
  });

  test("a Buffer decodes to plain Uint8Arrays", () => {
    const { value } = decodeItem(Buffer.from("4200c208000000020102000000000000", "hex"));
    assert.equal(Object.getPrototypeOf(value), Uint8Array.prototype);
    assert.deepEqual(value, Uint8Array.of(1, 2));
  });

  test("encoding leaves what it encodes alone, and shares no memory with it", () => {
    const value = Uint8Array.of(1, 2, 3);
    const encoded = encodeItem({ tag: 0x4200c2, type: 8, value });
    value.fill(9);
    assert.equal(toHex(encoded), "4200c208000000030102030000000000");
  });

  test("messages larger than the first buffer grow it, with the bytes before kept", () => {
    const value = new Uint8Array(100_000).fill(7);
    const item = { tag: 0x420079, type: 1, value: [{ tag: 0x4200c2, type: 8, value }] } as const;
    const encoded = encodeItem(item);
    assert.equal(encoded.length, 100_016);
    assert.deepEqual(decodeItem(encoded), item);
  });
});

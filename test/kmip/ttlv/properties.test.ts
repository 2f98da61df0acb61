/** What holds for every item and for any bytes, by fast-check. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { TtlvError } from "../../../src/errors.ts";
import { dumpItem } from "../../../src/kmip/ttlv/dump.ts";
import { createFramer } from "../../../src/kmip/ttlv/framer.ts";
import type { Item } from "../../../src/kmip/ttlv/item.ts";
import { decodeItem } from "../../../src/kmip/ttlv/reader.ts";
import { encodeItem } from "../../../src/kmip/ttlv/writer.ts";
import { anyItem, anyMessage } from "./arbitrary.ts";

/** The item, or undefined where the bytes are not TTLV; any other failure is a failure of the test. */
function decodeOrRefuse(bytes: Uint8Array): Item | undefined {
  try {
    return decodeItem(bytes);
  } catch (error) {
    assert.ok(error instanceof TtlvError, `raised ${String(error)}`);
    assert.ok(error.offset >= 0 && error.offset <= bytes.length);
    return undefined;
  }
}

/** Bytes that look like a header often enough to get past it. */
const nearlyTtlv = fc
  .array(
    fc.tuple(
      fc.constantFrom(0x42, 0x54, 0x43),
      fc.uint8Array({ minLength: 2, maxLength: 2 }),
      fc.integer({ min: 0, max: 12 }),
      fc.oneof(fc.constantFrom(0, 4, 8, 16, 24), fc.integer({ min: 0, max: 0xffff_ffff })),
      fc.uint8Array({ maxLength: 24 }),
    ),
    { maxLength: 6 },
  )
  .map((parts) => {
    const length = Buffer.alloc(4);
    const pieces = parts.map(([first, tag, type, size, value]) => {
      length.writeUInt32BE(size);
      return Buffer.from([first, ...tag, type, ...length, ...value]);
    });
    return new Uint8Array(Buffer.concat(pieces));
  });

/** A message, and the same with some of its bytes replaced. */
const mutated = fc
  .tuple(anyMessage, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }))
  .map(([item, changes]) => {
    const bytes = encodeItem(item).slice();
    for (const [at, value] of changes) bytes[at % bytes.length] = value;
    return bytes;
  });

describe("any item", () => {
  test("decodes from its encoding as it was", () => {
    fc.assert(
      fc.property(anyItem, (item) => assert.deepEqual(decodeItem(encodeItem(item)), item)),
      { numRuns: 1000 },
    );
  });

  test("has an encoding of a multiple of eight bytes", () => {
    fc.assert(fc.property(anyItem, (item) => encodeItem(item).length % 8 === 0));
  });

  test("has a dump that never fails and never passes its bound", () => {
    fc.assert(
      fc.property(anyItem, fc.nat(200), (item, maxChars) => {
        assert.ok(dumpItem(item, { maxChars }).length <= maxChars + 1);
      }),
    );
  });
});

describe("any bytes", () => {
  for (const [name, arbitrary] of [
    ["random bytes", fc.uint8Array({ maxLength: 200 })],
    ["bytes that look like items", nearlyTtlv],
    ["a message with some bytes changed", mutated],
  ] as const)
    test(`${name} raise nothing but TtlvError, and encode back to themselves where they decode`, () => {
      fc.assert(
        fc.property(arbitrary, (bytes) => {
          const item = decodeOrRefuse(bytes);
          if (item !== undefined) assert.deepEqual(encodeItem(item), bytes);
        }),
        { numRuns: 3000 },
      );
    });
});

describe("any stream", () => {
  test("comes out of the framer as the messages that went in, however it was cut", () => {
    const messages = fc.array(anyMessage, { maxLength: 5 });
    const sizes = fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(messages, sizes, fc.nat(7), (items, cuts, cutOff) => {
        const whole = items.map((item) => encodeItem(item));
        const stream = Buffer.concat([
          ...whole,
          encodeItem({ tag: 0x42007b, type: 1, value: [] }).subarray(0, cutOff),
        ]);
        const framer = createFramer();
        const out: Uint8Array[] = [];
        for (let at = 0, turn = 0; at < stream.length; turn += 1) {
          const size = cuts[turn % cuts.length] ?? 1;
          out.push(...framer.push(stream.subarray(at, at + size)));
          at += size;
        }
        assert.deepEqual(out, whole);
        assert.equal(framer.pendingBytes, cutOff);
      }),
      { numRuns: 500 },
    );
  });
});

/** Bytes that are not TTLV: each with its code, the offset, and the path to the fault. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TtlvError } from "../../../src/errors.ts";
import { Tag } from "../../../src/kmip/spec/tags.ts";
import { ItemType } from "../../../src/kmip/ttlv/item.ts";
import type { TtlvLimits } from "../../../src/kmip/ttlv/limits.ts";
import { decodeItem } from "../../../src/kmip/ttlv/reader.ts";
import { encodeItem } from "../../../src/kmip/ttlv/writer.ts";
import { bytes, fromHex } from "./vectors.ts";

interface Malformed {
  readonly name: string;
  readonly hex: string;
  readonly code: string;
  readonly offset: number;
  readonly path: string;
  readonly limits?: TtlvLimits;
}

/** `levels` Structures in each other. */
function nested(levels: number): string {
  let hex = "";
  for (let level = 0; level < levels; level += 1)
    hex = `420020 01 ${fromHex(hex).length.toString(16).padStart(8, "0")} ${hex}`;
  return hex;
}

const integerHex = "420020 02 00000004 00000001 00000000";
const version = "42006a 02 00000004 00000001 00000000";

const malformed: readonly Malformed[] = [
  { name: "no bytes at all", hex: "", code: "TTLV_TRUNCATED", offset: 0, path: "" },
  { name: "seven bytes", hex: "420078 01 000000", code: "TTLV_TRUNCATED", offset: 0, path: "" },
  {
    name: "a length of 4 GiB with nothing behind it",
    hex: "420078 01 fffffff8",
    code: "TTLV_TRUNCATED",
    offset: 4,
    path: "RequestMessage",
  },
  {
    name: "a Byte String of 4 GiB with nothing behind it",
    hex: "4200c2 08 ffffffff",
    code: "TTLV_TRUNCATED",
    offset: 4,
    path: "Data",
  },
  { name: "a tag beginning 0x00", hex: "000000 01 00000000", code: "TTLV_TAG", offset: 0, path: "0x000000" },
  {
    name: "an HTTP request",
    hex: Buffer.from("GET / HTTP/1.1\r\n").toString("hex"),
    code: "TTLV_TAG",
    offset: 0,
    path: "0x474554",
  },
  {
    name: "a fault in the only Batch Item",
    hex: "420078 01 00000010 42000f 01 00000008 42005c 05 00000008",
    code: "TTLV_LENGTH",
    offset: 20,
    path: "RequestMessage/BatchItem[0]/Operation",
  },
  {
    name: "a fault in the third Unique Identifier, behind other items",
    hex: "42007c 01 00000020 420094 07 00000000 4200d5 07 00000000 420094 07 00000000 420094 06 00000000",
    code: "TTLV_LENGTH",
    offset: 36,
    path: "ResponsePayload/UniqueIdentifier[2]",
  },
  {
    name: "a tag beginning 0x43 in the second Batch Item",
    hex: "420078 01 00000020 42000f 01 00000000 42000f 01 00000010 430000 06 00000008 0000000000000000",
    code: "TTLV_TAG",
    offset: 24,
    path: "RequestMessage/BatchItem[1]/0x430000",
  },
  { name: "item type 0", hex: "420020 00 00000000", code: "TTLV_TYPE", offset: 3, path: "CompromiseDate" },
  {
    name: "item type 0x0b, of KMIP 2.0",
    hex: "420020 0b 00000008 0000000000000000",
    code: "TTLV_TYPE",
    offset: 3,
    path: "CompromiseDate",
  },
  {
    name: "an Integer of 8 bytes",
    hex: "420020 02 00000008 0000000000000001",
    code: "TTLV_LENGTH",
    offset: 4,
    path: "CompromiseDate",
  },
  {
    name: "an Integer of 0 bytes",
    hex: "420020 02 00000000",
    code: "TTLV_LENGTH",
    offset: 4,
    path: "CompromiseDate",
  },
  {
    name: "an Enumeration of 3 bytes",
    hex: "420020 05 00000003 0000010000000000",
    code: "TTLV_LENGTH",
    offset: 4,
    path: "CompromiseDate",
  },
  {
    name: "an Interval of 8 bytes",
    hex: "420020 0a 00000008 0000000000000001",
    code: "TTLV_LENGTH",
    offset: 4,
    path: "CompromiseDate",
  },
  {
    name: "a Long Integer of 4 bytes",
    hex: "420020 03 00000004 0000000100000000",
    code: "TTLV_LENGTH",
    offset: 4,
    path: "CompromiseDate",
  },
  {
    name: "a Boolean of 1 byte",
    hex: "420020 06 00000001 0100000000000000",
    code: "TTLV_LENGTH",
    offset: 4,
    path: "CompromiseDate",
  },
  {
    name: "a Date-Time of 4 bytes",
    hex: "420020 09 00000004 0000000100000000",
    code: "TTLV_LENGTH",
    offset: 4,
    path: "CompromiseDate",
  },
  {
    name: "a Big Integer of 4 bytes",
    hex: "420020 04 00000004 0000000100000000",
    code: "TTLV_LENGTH",
    offset: 4,
    path: "CompromiseDate",
  },
  {
    name: "a Structure of 4 bytes",
    hex: "420020 01 00000004 0000000000000000",
    code: "TTLV_LENGTH",
    offset: 4,
    path: "CompromiseDate",
  },
  { name: "bytes behind the message", hex: `${integerHex} 00`, code: "TTLV_LENGTH", offset: 16, path: "" },
  {
    name: "a second message behind the first",
    hex: integerHex + integerHex,
    code: "TTLV_LENGTH",
    offset: 16,
    path: "",
  },
  {
    name: "an item longer than the Structure around it",
    hex: `420069 01 00000008 42006a 02 00000004`,
    code: "TTLV_LENGTH",
    offset: 12,
    path: "ProtocolVersion/ProtocolVersionMajor",
  },
  {
    name: "a Byte String in a Structure that claims 4 GiB",
    hex: `420079 01 00000010 4200c2 08 ffffffff 0000000000000000`,
    code: "TTLV_LENGTH",
    offset: 12,
    path: "RequestPayload/Data",
  },
  {
    name: "a Structure that ends in the middle of its second item",
    hex: `420069 01 00000018 ${version} 42006b 02 00000004`,
    code: "TTLV_LENGTH",
    offset: 28,
    path: "ProtocolVersion/ProtocolVersionMinor",
  },
  {
    name: "padding of a Text String that is not zero",
    hex: "420078 01 00000010 420094 07 00000003 616263 0000000001",
    code: "TTLV_PADDING",
    offset: 23,
    path: "RequestMessage/UniqueIdentifier",
  },
  {
    name: "padding of an Integer that is not zero",
    hex: "420020 02 00000004 00000001 80000000",
    code: "TTLV_PADDING",
    offset: 12,
    path: "CompromiseDate",
  },
  {
    name: "padding of a Byte String that is not zero",
    hex: "4200c2 08 00000001 ff 00000100000000",
    code: "TTLV_PADDING",
    offset: 11,
    path: "Data",
  },
  {
    name: "a Boolean of 2",
    hex: "420020 06 00000008 0000000000000002",
    code: "TTLV_VALUE",
    offset: 8,
    path: "CompromiseDate",
  },
  {
    name: "a Boolean of 2^32",
    hex: "420020 06 00000008 0000000100000000",
    code: "TTLV_VALUE",
    offset: 8,
    path: "CompromiseDate",
  },
  {
    name: "a Boolean of 2^32 + 1",
    hex: "420020 06 00000008 0000000100000001",
    code: "TTLV_VALUE",
    offset: 8,
    path: "CompromiseDate",
  },
  {
    name: "UTF-8 cut in the middle of a character",
    hex: "420020 07 00000001 c3 00000000000000",
    code: "TTLV_UTF8",
    offset: 8,
    path: "CompromiseDate",
  },
  {
    name: "UTF-8 that is longer than it need be",
    hex: "420020 07 00000002 c080 000000000000",
    code: "TTLV_UTF8",
    offset: 8,
    path: "CompromiseDate",
  },
  {
    name: "UTF-8 of a surrogate",
    hex: "420020 07 00000003 eda080 0000000000",
    code: "TTLV_UTF8",
    offset: 8,
    path: "CompromiseDate",
  },
  {
    name: "UTF-8 above U+10FFFF",
    hex: "420020 07 00000004 f4908080 00000000",
    code: "TTLV_UTF8",
    offset: 8,
    path: "CompromiseDate",
  },
  {
    name: "a good replacement character before a bad byte",
    hex: "420020 07 00000004 efbfbdff 00000000",
    code: "TTLV_UTF8",
    offset: 8,
    path: "CompromiseDate",
  },
  {
    name: "33 Structures in each other",
    hex: nested(33),
    code: "TTLV_DEPTH",
    offset: 32 * 8,
    path: Array.from({ length: 33 }, () => "CompromiseDate").join("/"),
  },
  {
    name: "a depth over the caller's own limit",
    hex: nested(3),
    code: "TTLV_DEPTH",
    offset: 16,
    path: "CompromiseDate/CompromiseDate/CompromiseDate",
    limits: { maxDepth: 2 },
  },
  {
    name: "more items than the caller's own limit",
    hex: nested(3),
    code: "TTLV_LENGTH",
    offset: 16,
    path: "CompromiseDate/CompromiseDate/CompromiseDate",
    limits: { maxItems: 2 },
  },
  {
    name: "a message over the caller's own limit",
    hex: nested(3),
    code: "TTLV_LENGTH",
    offset: 0,
    path: "CompromiseDate",
    limits: { maxMessageBytes: 16 },
  },
];

describe("malformed bytes", () => {
  for (const { name, hex, code, offset, path, limits } of malformed)
    test(`${name}: ${code} at ${offset}`, () => {
      assert.throws(
        () => decodeItem(fromHex(hex), limits),
        (error) => {
          assert.ok(error instanceof TtlvError);
          assert.deepEqual(
            { code: error.code, offset: error.offset, path: error.path },
            { code, offset, path },
          );
          return true;
        },
      );
    });

  test("32 Structures in each other decode", () => {
    assert.equal(decodeItem(fromHex(nested(32))).type, ItemType.Structure);
  });

  test("a message of 1 MiB decodes, one of 8 bytes more does not", () => {
    const largest = encodeItem(bytes(Tag.Data, new Uint8Array((1 << 20) - 8)));
    assert.equal(largest.length, 1 << 20);
    assert.equal(decodeItem(largest).type, ItemType.ByteString);
    const larger = new Uint8Array((1 << 20) + 8);
    larger.set(largest);
    assert.throws(() => decodeItem(larger), { code: "TTLV_LENGTH" });
  });

  test("a message of too many items is refused before all of them are decoded", () => {
    const item = encodeItem({ tag: 0x540001, type: ItemType.TextString, value: "" });
    const message = Buffer.alloc((1 << 20) - 8);
    Buffer.from("42007b010000000000", "hex").copy(message);
    message.writeUInt32BE(message.length - 8, 4);
    for (let at = 8; at < message.length; at += item.length) Buffer.from(item).copy(message, at);
    // 130,000 items: their values alone would be some 15 MB.
    const before = process.memoryUsage().heapUsed;
    assert.throws(() => decodeItem(message), { code: "TTLV_LENGTH", message: /too many items/ });
    assert.ok(process.memoryUsage().heapUsed - before < 8 << 20);
    const limits = { maxItems: 200_000 };
    assert.equal((decodeItem(message, limits).value as unknown[]).length, message.length / 8 - 1);
  });

  test("a fault is told without any byte of a value", () => {
    const secret = "deadbeefcafef00d";
    const hex = `420079 01 00000020 4200c2 08 00000007 ${secret} 42003d 02 00000003 ${secret}`;
    assert.throws(
      () => decodeItem(fromHex(hex)),
      (error) => error instanceof TtlvError && !/dead|beef|3735928559/i.test(error.message),
    );
  });
});

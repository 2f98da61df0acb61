/** Items that have no encoding: each refused with its code and the path to it, and never cut or wrapped. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TtlvError } from "../../../src/errors.ts";
import { Tag } from "../../../src/kmip/spec/tags.ts";
import { type Item, ItemType } from "../../../src/kmip/ttlv/item.ts";
import { encodeItem } from "../../../src/kmip/ttlv/writer.ts";
import { bytes, integer, structure, text } from "./vectors.ts";

/** An item that the types of the program rule out, as a caller without types would pass it. */
const wrong = (type: number, value: unknown): Item =>
  ({ tag: Tag.BatchCount, type, value }) as unknown as Item;

const unwritable: readonly { readonly name: string; readonly item: Item; readonly code: string }[] = [
  { name: "an Integer of 2^31", item: wrong(ItemType.Integer, 2 ** 31), code: "TTLV_VALUE" },
  { name: "an Integer under -2^31", item: wrong(ItemType.Integer, -(2 ** 31) - 1), code: "TTLV_VALUE" },
  { name: "an Integer of 1.5", item: wrong(ItemType.Integer, 1.5), code: "TTLV_VALUE" },
  { name: "an Integer that is not a number", item: wrong(ItemType.Integer, Number.NaN), code: "TTLV_VALUE" },
  { name: "an Integer given as text", item: wrong(ItemType.Integer, "1"), code: "TTLV_VALUE" },
  { name: "an Enumeration of -1", item: wrong(ItemType.Enumeration, -1), code: "TTLV_VALUE" },
  { name: "an Enumeration of 2^32", item: wrong(ItemType.Enumeration, 2 ** 32), code: "TTLV_VALUE" },
  { name: "an Interval of -1", item: wrong(ItemType.Interval, -1), code: "TTLV_VALUE" },
  { name: "a Long Integer of 2^63", item: wrong(ItemType.LongInteger, 2n ** 63n), code: "TTLV_VALUE" },
  { name: "a Long Integer that is a number", item: wrong(ItemType.LongInteger, 1), code: "TTLV_VALUE" },
  { name: "a Date-Time under -2^63", item: wrong(ItemType.DateTime, -(2n ** 63n) - 1n), code: "TTLV_VALUE" },
  { name: "a Date-Time that is a Date", item: wrong(ItemType.DateTime, new Date(0)), code: "TTLV_VALUE" },
  { name: "a Boolean of 1", item: wrong(ItemType.Boolean, 1), code: "TTLV_VALUE" },
  {
    name: "a Text String with half a surrogate pair",
    item: wrong(ItemType.TextString, "\uD834"),
    code: "TTLV_UTF8",
  },
  { name: "a Byte String given as text", item: wrong(ItemType.ByteString, "00"), code: "TTLV_VALUE" },
  {
    name: "a Big Integer of 7 bytes",
    item: wrong(ItemType.BigInteger, new Uint8Array(7)),
    code: "TTLV_LENGTH",
  },
  { name: "item type 0x0b", item: wrong(0x0b, 0n), code: "TTLV_TYPE" },
  { name: "a message over 1 MiB", item: bytes(Tag.Data, new Uint8Array(1 << 20)), code: "TTLV_LENGTH" },
];

describe("items without an encoding", () => {
  for (const { name, item, code } of unwritable)
    test(`${name} is refused with the path to it`, () => {
      const message = structure(Tag.RequestMessage, structure(Tag.BatchItem), structure(Tag.BatchItem, item));
      assert.throws(
        () => encodeItem(message),
        (error) => {
          assert.ok(error instanceof TtlvError);
          assert.equal(error.code, code);
          assert.match(error.path, /^RequestMessage\/BatchItem\[1\]\/(BatchCount|Data)$/);
          return true;
        },
      );
    });

  for (const tag of [0, 0x41ffff, 0x430000, 0x53ffff, 0x1_420000, 0x420001 + 0.5, -1, Number.NaN])
    test(`the tag ${tag} is refused`, () => {
      assert.throws(() => encodeItem(integer(tag, 1)), { code: "TTLV_TAG" });
    });

  test("the path counts the items before it that have the same tag, and no others", () => {
    const good = text(Tag.UniqueIdentifier, "1");
    const payload = structure(
      Tag.ResponsePayload,
      good,
      integer(Tag.LocatedItems, 2),
      text(Tag.UniqueIdentifier, "\uDC00"),
    );
    assert.throws(() => encodeItem(payload), { path: "ResponsePayload/UniqueIdentifier[1]" });
    const single = structure(
      Tag.ResponsePayload,
      integer(Tag.LocatedItems, 2),
      text(Tag.UniqueIdentifier, "\uDC00"),
    );
    assert.throws(() => encodeItem(single), { path: "ResponsePayload/UniqueIdentifier" });
  });

  test("an item deeper than 32 is refused, and so is one that holds itself", () => {
    const items: Item[] = [];
    const endless = structure(Tag.RequestMessage);
    (endless as { value: readonly Item[] }).value = items;
    items.push(endless);
    assert.throws(() => encodeItem(endless), { code: "TTLV_DEPTH" });
    assert.throws(
      () => encodeItem(structure(Tag.Data, structure(Tag.Data, text(Tag.Data, ""))), { maxDepth: 2 }),
      {
        code: "TTLV_DEPTH",
      },
    );
  });
});

/** fast-check: any item that has an encoding, of moderate size. */
import * as fc from "fast-check";
import { Tag } from "../../../src/kmip/spec/tags.ts";
import { type Item, ItemType } from "../../../src/kmip/ttlv/item.ts";

const anyTag = fc.oneof(
  fc.constantFrom(...Object.values(Tag)),
  fc.integer({ min: 0x420000, max: 0x42ffff }),
  fc.integer({ min: 0x540000, max: 0x54ffff }),
);
const signed64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const unsigned32 = fc.integer({ min: 0, max: 0xffff_ffff });
const eights = fc
  .array(fc.uint8Array({ minLength: 8, maxLength: 8 }), { maxLength: 3 })
  .map((parts) => new Uint8Array(Buffer.concat(parts)));

const leaf = (type: ItemType, value: fc.Arbitrary<unknown>): fc.Arbitrary<Item> =>
  fc.record({ tag: anyTag, type: fc.constant(type), value }, { noNullPrototype: true }) as fc.Arbitrary<Item>;

const leaves = [
  leaf(ItemType.Integer, fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff })),
  leaf(ItemType.LongInteger, signed64),
  leaf(ItemType.BigInteger, eights),
  leaf(ItemType.Enumeration, unsigned32),
  leaf(ItemType.Boolean, fc.boolean()),
  leaf(ItemType.TextString, fc.string({ unit: "binary", maxLength: 40 })),
  leaf(ItemType.ByteString, fc.uint8Array({ maxLength: 80 })),
  leaf(ItemType.DateTime, signed64),
  leaf(ItemType.Interval, unsigned32),
];

const { item, root } = fc.letrec<{ item: Item; root: Item }>((tie) => ({
  item: fc.oneof({ depthSize: "small", withCrossShrink: true }, ...leaves, tie("root")),
  root: leaf(ItemType.Structure, fc.array(tie("item"), { maxLength: 5 })),
}));

/** Any item. */
export const anyItem = item;
/** Any item that can be a message: a Structure. */
export const anyMessage = root;

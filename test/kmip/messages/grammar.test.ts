/** The grammar of structures: what it writes, what it reads, what it forgives and what not. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { ProviderError } from "../../../src/errors.ts";
import {
  anyItem,
  anyStructure,
  boolean,
  byteString,
  dateTime,
  enumeration,
  integer,
  interval,
  longInteger,
  optional,
  repeated,
  required,
  since,
  structure,
  textString,
} from "../../../src/kmip/grammar.ts";
import { Tag } from "../../../src/kmip/spec/tags.ts";
import { type Item, ItemType } from "../../../src/kmip/ttlv/item.ts";
import { decodeItem } from "../../../src/kmip/ttlv/reader.ts";
import { encodeItem } from "../../../src/kmip/ttlv/writer.ts";
import { parseVersion } from "../../../src/kmip/version.ts";

const newest = parseVersion("1.4");

const inner = structure({ flag: required(Tag.BatchOrderOption, boolean) });
const everything = structure({
  text: required(Tag.UniqueIdentifier, textString),
  integer: optional(Tag.CryptographicLength, integer),
  long: optional(Tag.UsageLimitsCount, longInteger),
  enumeration: optional(Tag.State, enumeration),
  bytes: optional(Tag.Data, byteString),
  date: optional(Tag.InitialDate, dateTime),
  interval: optional(Tag.LeaseTime, interval),
  inner: optional(Tag.Digest, inner),
  texts: repeated(Tag.AttributeName, textString),
  inners: repeated(Tag.Link, inner),
  late: since("1.4", optional(Tag.Comment, textString)),
  lateOnes: since("1.3", repeated(Tag.Description, textString)),
  rest: optional(Tag.VendorExtension, anyStructure),
  any: optional(Tag.AttributeValue, anyItem),
});
const text = (tag: number, value: string): Item => ({ tag, type: ItemType.TextString, value });

function refuses(items: readonly Item[], complaint: RegExp): void {
  assert.throws(
    () => everything.decodeItems(items, "Message"),
    (error) =>
      error instanceof ProviderError &&
      error.code === "KMIP_UNEXPECTED" &&
      !error.retryable &&
      complaint.test(error.message),
  );
}

describe("reading", () => {
  test("an absent optional field is not there, an absent repeated one is an empty list", () => {
    assert.deepEqual(everything.decodeItems([text(Tag.UniqueIdentifier, "a")], ""), {
      text: "a",
      texts: [],
      inners: [],
      lateOnes: [],
    });
  });

  test("fields may come in any order, and items that are not declared are passed over", () => {
    const items = [
      text(0x540001, "a vendor's"),
      text(Tag.AttributeName, "first"),
      text(Tag.UniqueIdentifier, "a"),
      text(Tag.ContactInformation, "not declared"),
      text(Tag.AttributeName, "second"),
    ];
    const value = everything.decodeItems(items, "");
    assert.equal(value.text, "a");
    assert.deepEqual(value.texts, ["first", "second"]);
    assert.deepEqual(Object.keys(value).toSorted(), ["inners", "lateOnes", "text", "texts"]);
  });

  test("a missing required field is named with its place", () => {
    refuses([], /^Message\/UniqueIdentifier: is missing$/);
  });

  test("a missing field of a structure in a list is named with its place", () => {
    const good: Item = {
      tag: Tag.Link,
      type: ItemType.Structure,
      value: [{ tag: Tag.BatchOrderOption, type: ItemType.Boolean, value: true }],
    };
    const bad: Item = { tag: Tag.Link, type: ItemType.Structure, value: [] };
    refuses(
      [text(Tag.UniqueIdentifier, "a"), good, bad],
      /^Message\/Link\[1\]\/BatchOrderOption: is missing$/,
    );
  });

  test("a field that may stand once is refused twice, even where both say the same", () => {
    refuses(
      [text(Tag.UniqueIdentifier, "a"), text(Tag.UniqueIdentifier, "a")],
      /UniqueIdentifier: appears twice$/,
    );
  });

  for (const tag of [
    Tag.CryptographicLength,
    Tag.UsageLimitsCount,
    Tag.State,
    Tag.Data,
    Tag.InitialDate,
    Tag.LeaseTime,
    Tag.Digest,
    Tag.VendorExtension,
  ])
    test(`a Text String where tag 0x${tag.toString(16)} has another type is refused`, () => {
      refuses([text(Tag.UniqueIdentifier, "a"), text(tag, "1")], /is of type Text String, not \w/);
    });

  test("an Integer where a Text String is due is refused, without its value in the message", () => {
    const item: Item = { tag: Tag.UniqueIdentifier, type: ItemType.Integer, value: 424242 };
    refuses([item], /^Message\/UniqueIdentifier: is of type Integer, not Text String$/);
  });
});

describe("writing", () => {
  test("fields are written in the order of the declaration, whatever the order of the value", () => {
    const items = everything.encodeItems(
      { lateOnes: ["x"], texts: ["b", "c"], integer: 1, text: "a" },
      newest,
    );
    assert.deepEqual(
      items.map(({ tag }) => tag),
      [Tag.UniqueIdentifier, Tag.CryptographicLength, Tag.AttributeName, Tag.AttributeName, Tag.Description],
    );
  });

  test("what is undefined is not written", () => {
    assert.equal(
      everything.encodeItems({ text: "a", integer: undefined, texts: undefined }, newest).length,
      1,
    );
  });

  test("a required field that untyped code left out is refused", () => {
    const untyped = { integer: 1 } as unknown as { text: string };
    assert.throws(() => everything.encodeItems(untyped, newest), { code: "KMIP_UNEXPECTED" });
  });

  test("a field newer than the version is refused with both versions", () => {
    assert.throws(
      () => everything.encodeItems({ text: "a", late: "b" }, parseVersion("1.3")),
      (error) =>
        error instanceof ProviderError &&
        error.code === "KMIP_VERSION" &&
        error.message === "Comment exists from KMIP 1.4 on; KMIP 1.3 is in use",
    );
    assert.throws(() => everything.encodeItems({ text: "a", lateOnes: ["b"] }, parseVersion("1.2")), {
      code: "KMIP_VERSION",
    });
  });

  test("an empty list and an absent field newer than the version do no harm", () => {
    assert.equal(
      everything.encodeItems({ text: "a", late: undefined, lateOnes: [] }, parseVersion("1.0")).length,
      1,
    );
  });

  test("an item of any kind takes the tag of its field", () => {
    const [, item] = everything.encodeItems({ text: "a", any: text(Tag.Comment, "b") }, newest);
    assert.deepEqual(item, text(Tag.AttributeValue, "b"));
  });
});

const long = { min: -(2n ** 63n), max: 2n ** 63n - 1n };
const flags = fc.record({ flag: fc.boolean() }, { noNullPrototype: true });
const values = fc.record(
  {
    text: fc.string({ unit: "grapheme" }),
    integer: fc.integer(),
    long: fc.bigInt(long),
    enumeration: fc.nat({ max: 0xffff_ffff }),
    bytes: fc.uint8Array(),
    date: fc.bigInt(long),
    interval: fc.nat({ max: 0xffff_ffff }),
    inner: flags,
    texts: fc.array(fc.string()),
    inners: fc.array(flags),
    late: fc.string(),
    lateOnes: fc.array(fc.string()),
  },
  { requiredKeys: ["text", "texts", "inners", "lateOnes"], noNullPrototype: true },
);

test("what is written reads as it was, through bytes and back", () => {
  fc.assert(
    fc.property(values, (value) => {
      const bytes = encodeItem(everything.encode(Tag.Attribute, value, newest));
      assert.deepEqual(everything.decode(decodeItem(bytes), ""), value);
    }),
  );
});

test("items in any order read the same, as long as each list keeps its own", () => {
  const shuffled = values.chain((value) => {
    const items = [...everything.encodeItems({ ...value, texts: [], inners: [], lateOnes: [] }, newest)];
    return fc.tuple(fc.constant(value), fc.shuffledSubarray(items, { minLength: items.length }));
  });
  fc.assert(
    fc.property(shuffled, ([value, items]) => {
      assert.deepEqual(everything.decodeItems(items, ""), { ...value, texts: [], inners: [], lateOnes: [] });
    }),
  );
});

/** Attributes: their values by name, those of a vendor, and what an old version can't hold. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import {
  type Attribute,
  attribute,
  type AttributeName,
  attributeStructure,
  attributeValue,
  attributeValues,
  customAttribute,
  isAttributeName,
  templateAttribute,
} from "../../../src/kmip/attributes.ts";
import { Tag } from "../../../src/kmip/spec/tags.ts";
import { type Item, ItemType } from "../../../src/kmip/ttlv/item.ts";
import { decodeItem } from "../../../src/kmip/ttlv/reader.ts";
import { encodeItem } from "../../../src/kmip/ttlv/writer.ts";
import { parseVersion, supportedVersions, type VersionText } from "../../../src/kmip/version.ts";

const newest = parseVersion("1.4");
const bytes = Uint8Array.of(1, 2);

/** Name, a value, the first version, and the type on the wire. */
const known: readonly [name: AttributeName, value: unknown, first: VersionText, type: ItemType][] = [
  ["Unique Identifier", "a", "1.0", ItemType.TextString],
  ["Name", { value: "a", type: 1 }, "1.0", ItemType.Structure],
  ["Object Type", 2, "1.0", ItemType.Enumeration],
  ["Cryptographic Algorithm", 3, "1.0", ItemType.Enumeration],
  ["Cryptographic Length", 256, "1.0", ItemType.Integer],
  ["Cryptographic Parameters", { blockCipherMode: 9 }, "1.0", ItemType.Structure],
  ["Digest", { hashingAlgorithm: 6, digestValue: bytes }, "1.0", ItemType.Structure],
  ["Operation Policy Name", "default", "1.0", ItemType.TextString],
  ["Cryptographic Usage Mask", 12, "1.0", ItemType.Integer],
  ["Lease Time", 3600, "1.0", ItemType.Interval],
  ["State", 2, "1.0", ItemType.Enumeration],
  ["Initial Date", 1n, "1.0", ItemType.DateTime],
  ["Activation Date", 1n, "1.0", ItemType.DateTime],
  ["Process Start Date", 1n, "1.0", ItemType.DateTime],
  ["Protect Stop Date", 1n, "1.0", ItemType.DateTime],
  ["Deactivation Date", 1n, "1.0", ItemType.DateTime],
  ["Destroy Date", 1n, "1.0", ItemType.DateTime],
  ["Compromise Occurrence Date", 1n, "1.0", ItemType.DateTime],
  ["Compromise Date", 1n, "1.0", ItemType.DateTime],
  ["Revocation Reason", { code: 1, message: "a" }, "1.0", ItemType.Structure],
  ["Archive Date", 1n, "1.0", ItemType.DateTime],
  ["Object Group", "a", "1.0", ItemType.TextString],
  ["Fresh", true, "1.1", ItemType.Boolean],
  ["Link", { type: 0x101, linkedObjectIdentifier: "a" }, "1.0", ItemType.Structure],
  ["Application Specific Information", { namespace: "a", data: "b" }, "1.0", ItemType.Structure],
  ["Contact Information", "a", "1.0", ItemType.TextString],
  ["Last Change Date", 1n, "1.0", ItemType.DateTime],
  ["Alternative Name", { value: "a", type: 1 }, "1.2", ItemType.Structure],
  ["Key Value Present", true, "1.2", ItemType.Boolean],
  ["Original Creation Date", 1n, "1.2", ItemType.DateTime],
  ["Description", "a", "1.4", ItemType.TextString],
  ["Comment", "a", "1.4", ItemType.TextString],
  ["Sensitive", true, "1.4", ItemType.Boolean],
  ["Always Sensitive", true, "1.4", ItemType.Boolean],
  ["Extractable", true, "1.4", ItemType.Boolean],
  ["Never Extractable", true, "1.4", ItemType.Boolean],
];

function throughBytes(one: Attribute): Attribute {
  const item = decodeItem(encodeItem(attributeStructure.encode(Tag.Attribute, one, newest)));
  return attributeStructure.decode(item, "Attribute");
}

describe("an attribute of the specification", () => {
  for (const [name, value, first, type] of known)
    test(`${name} travels with its own type, and from KMIP ${first} on`, () => {
      const made = throughBytes(attribute(name, value as never, newest));
      assert.equal(made.name, name);
      assert.equal(made.value.type, type);
      assert.deepEqual(attributeValue([made], name), value);
      for (const version of supportedVersions)
        if (version.minor >= parseVersion(first).minor)
          assert.doesNotThrow(() => attribute(name, value as never, version));
        else assert.throws(() => attribute(name, value as never, version), { code: "KMIP_VERSION" });
    });

  test("of a value with a newer field is refused to an older version", () => {
    const value = { cryptographicAlgorithm: 3 };
    assert.throws(() => attribute("Cryptographic Parameters", value, parseVersion("1.1")), {
      code: "KMIP_VERSION",
    });
  });

  test("with an index keeps it, and without has none", () => {
    const name = { value: "a", type: 1 };
    assert.equal(throughBytes(attribute("Name", name, newest, 3)).index, 3);
    assert.ok(!Object.hasOwn(throughBytes(attribute("Name", name, newest)), "index"));
  });
});

describe("a list of attributes", () => {
  const list = ["first", "second"].map((value, index) =>
    attribute("Name", { value, type: 1 }, newest, index),
  );

  test("tells every value of a name in the order of the message, and the first of them", () => {
    assert.deepEqual(
      attributeValues(list, "Name").map(({ value }) => value),
      ["first", "second"],
    );
    assert.equal(attributeValue(list, "Name")?.value, "first");
  });

  test("tells nothing of an attribute that is not in it", () => {
    assert.deepEqual(attributeValues(list, "State"), []);
    assert.equal(attributeValue(list, "State"), undefined);
  });

  test("with a value of a wrong type is refused only by who asks for that value", () => {
    const wrong = customAttribute("State", { tag: 0, type: ItemType.Boolean, value: true });
    const mixed = [...list, throughBytes(wrong)];
    assert.equal(attributeValue(mixed, "Name")?.value, "first");
    assert.throws(() => attributeValue(mixed, "State"), {
      code: "KMIP_UNEXPECTED",
      message: 'Attribute "State": is of type Boolean, not Enumeration',
    });
  });
});

function text(value: string): Item {
  return { tag: 0, type: ItemType.TextString, value };
}

describe("an attribute of another type than the specification's is read where its meaning is plain:", () => {
  const table: [string, AttributeName, Item, unknown][] = [
    ["State as a name", "State", text("Active"), 2],
    ["State as a name without its hyphen", "State", text("PreActive"), 1],
    ["State as a number in text", "State", text("0x00000002"), 2],
    ["State as an Integer", "State", { tag: 0, type: ItemType.Integer, value: 2 }, 2],
    ["Object Type as a name", "Object Type", text("Symmetric Key"), 2],
    ["Object Type as an Integer", "Object Type", { tag: 0, type: ItemType.Integer, value: 2 }, 2],
    ["the algorithm as a name", "Cryptographic Algorithm", text("AES"), 3],
    [
      "the length as a Long Integer",
      "Cryptographic Length",
      { tag: 0, type: ItemType.LongInteger, value: 256n },
      256,
    ],
    [
      "the usage as an Enumeration",
      "Cryptographic Usage Mask",
      { tag: 0, type: ItemType.Enumeration, value: 12 },
      12,
    ],
    ["a date as a Long Integer", "Protect Stop Date", { tag: 0, type: ItemType.LongInteger, value: 5n }, 5n],
    ["a Name as a Text String", "Name", text("kek"), { value: "kek", type: 1 }],
  ];
  for (const [what, name, item, expected] of table)
    test(what, () => {
      assert.deepEqual(attributeValue([throughBytes(customAttribute(name, item))], name), expected);
    });

  test("a State of no known name is refused", () => {
    const odd = throughBytes(customAttribute("State", text("resting")));
    assert.throws(() => attributeValue([odd], "State"), { code: "KMIP_UNEXPECTED" });
  });
});

describe("an attribute of a vendor", () => {
  const values: readonly Item[] = [
    { tag: Tag.AttributeValue, type: ItemType.Integer, value: -1 },
    { tag: Tag.AttributeValue, type: ItemType.LongInteger, value: 1n },
    { tag: Tag.AttributeValue, type: ItemType.TextString, value: "rack 7" },
    { tag: Tag.AttributeValue, type: ItemType.Boolean, value: true },
    {
      tag: Tag.AttributeValue,
      type: ItemType.Structure,
      value: [{ tag: 0x540001, type: ItemType.Interval, value: 1 }],
    },
  ];
  for (const value of values)
    test(`with a value of type ${value.type} travels as it is`, () => {
      const made = customAttribute("x-rack", { ...value, tag: Tag.Data });
      assert.deepEqual(throughBytes(made), { name: "x-rack", value });
    });

  for (const name of ["x-rack", "state", "State ", "constructor", "toString", "__proto__", ""])
    test(`"${name}" is none that is understood`, () => assert.equal(isAttributeName(name), false));
});

test("a Template-Attribute keeps the order of its attributes, through bytes and back", () => {
  const made = fc.constantFrom(...known).map(([name, value]) => attribute(name, value as never, newest));
  const name = fc.record({ value: fc.string(), type: fc.constantFrom(1, 2) }, { noNullPrototype: true });
  fc.assert(
    fc.property(fc.array(made), fc.array(name), (attributes, names) => {
      const item = templateAttribute.encode(Tag.TemplateAttribute, { names, attributes }, newest);
      assert.deepEqual(templateAttribute.decode(decodeItem(encodeItem(item)), ""), { names, attributes });
    }),
  );
});

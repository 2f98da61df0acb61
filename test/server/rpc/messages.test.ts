/** The codec of KMS v2's messages reads and writes as protobuf-es does with the schema's descriptors, whatever the bytes are. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import * as fc from "fast-check";
import { file_kms_v2_api as schema } from "../../../gen/kms/v2/api_pb.ts";
import { type KmsMessages, kmsMessages, type MessageCodec } from "../../../src/server/rpc/messages.ts";

const codecs = Object.entries(kmsMessages) as [keyof KmsMessages, MessageCodec<object>][];
const descriptorOf = new Map<string, DescMessage>(schema.messages.map((desc) => [desc.name, desc]));

/** What a decoder makes of bytes: fields in a form that can be compared, or that it fails. */
function outcomeOf(decode: () => object): unknown {
  let message: object;
  try {
    message = decode();
  } catch {
    return "not readable";
  }
  return Object.entries(message)
    .filter(([name]) => !name.startsWith("$"))
    .map(([name, value]) => [name, comparable(value)]);
}

function comparable(value: unknown): unknown {
  if (typeof value === "string") return value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  assert.equal(Object.getPrototypeOf(value), Object.prototype);
  return Object.entries(value as object).map(([name, each]) => [name, comparable(each)]);
}

/** Decodes by both, and fails where they differ. @returns whether the bytes are readable */
function decodeAlike(name: keyof KmsMessages, bytes: Uint8Array): boolean {
  const desc = descriptorOf.get(name);
  assert.ok(desc !== undefined, name);
  const expected = outcomeOf(() => fromBinary(desc, bytes));
  assert.deepEqual(
    outcomeOf(() => kmsMessages[name].decode(bytes)),
    expected,
  );
  return expected !== "not readable";
}

const number = fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 2 ** 29 - 1 }));
const text = fc.oneof(
  fc.string({ unit: fc.nat(0xffff).map((code) => String.fromCharCode(code)), maxLength: 40 }),
  fc.string({ unit: "binary", maxLength: 70 }),
  fc.constantFrom("", "uid", "__proto__", "constructor", "a\u{FEFF}", "\u{FEFF}", "x".repeat(33)),
);
const content = fc.oneof(
  text.map((value) => new TextEncoder().encode(value)),
  fc.uint8Array({ maxLength: 40 }),
);

/** Records of a message of any schema: a known field with its own or another wire type, an unknown one, a group. */
const { record } = fc.letrec<{ record: Uint8Array; records: Uint8Array }>((tie) => ({
  records: fc.array(tie("record"), { maxLength: 5 }).map((all) => Buffer.concat(all)),
  record: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    { weight: 6, arbitrary: fc.tuple(number, content).map(([no, bytes]) => delimited(no, bytes)) },
    { weight: 1, arbitrary: fc.tuple(number, fc.bigInt(0n, 2n ** 64n - 1n)).map(varint) },
    {
      weight: 1,
      arbitrary: number.map((no) => new BinaryWriter().tag(no, WireType.Bit32).fixed32(7).finish()),
    },
    {
      weight: 1,
      arbitrary: number.map((no) => new BinaryWriter().tag(no, WireType.Bit64).double(7).finish()),
    },
    // A map's entry, or what might be one.
    { weight: 4, arbitrary: fc.tuple(number, tie("records")).map(([no, bytes]) => delimited(no, bytes)) },
    { weight: 1, arbitrary: fc.tuple(number, number, tie("records")).map(group) },
  ),
}));

function delimited(no: number, bytes: Uint8Array): Uint8Array {
  return new BinaryWriter().tag(no, WireType.LengthDelimited).bytes(bytes).finish();
}

function varint([no, value]: [number, bigint]): Uint8Array {
  return new BinaryWriter().tag(no, WireType.Varint).uint64(value).finish();
}

/** Now and then one that ends with the number of another. */
function group([no, other, bytes]: [number, number, Uint8Array]): Uint8Array {
  const end = other < 3 ? other : no;
  const writer = new BinaryWriter().tag(no, WireType.StartGroup).raw(bytes);
  return writer.tag(end, WireType.EndGroup).finish();
}

const message = fc.array(record, { maxLength: 8 }).map((all) => Buffer.concat(all));
const mutated = fc
  .tuple(message, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }), fc.nat())
  .map(([bytes, changes, cut]) => {
    const changed = Buffer.from(bytes);
    for (const [at, byte] of changes) if (changed.length > 0) changed[at % changed.length] = byte;
    return cut % 3 === 0 ? changed.subarray(0, cut % (changed.length + 1)) : changed;
  });

const annotations = fc.dictionary(text, content, { maxKeys: 4, noNullPrototype: true });
const fieldArbitraries: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  version: text,
  healthz: text,
  uid: text,
  keyId: text,
  plaintext: content,
  ciphertext: content,
  annotations,
};

for (const [name, codec] of codecs)
  describe(name, () => {
    const desc = descriptorOf.get(name);
    assert.ok(desc !== undefined);

    test("has the fields of the schema", () => {
      const names = desc.fields.map(({ localName }) => localName);
      assert.deepEqual(Object.keys(codec.decode(new Uint8Array())).toSorted(), names.toSorted());
    });

    test("any records are read alike", () => {
      let readable = 0;
      fc.assert(
        fc.property(message, (bytes) => {
          if (decodeAlike(name, bytes)) readable += 1;
        }),
        { numRuns: 2000 },
      );
      assert.ok(readable > 0, "no message was readable: nothing is shown");
    });

    test("records that were changed or cut are read alike", () => {
      fc.assert(
        fc.property(mutated, (bytes) => {
          decodeAlike(name, bytes);
        }),
        { numRuns: 2000 },
      );
    });

    test("random bytes are read alike", () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
          decodeAlike(name, bytes);
        }),
        { numRuns: 2000 },
      );
    });

    test("any values are written to the same bytes, and read again", () => {
      const fields = desc.fields.map(({ localName }) => [
        localName,
        fieldArbitraries[localName] ?? fc.constant(""),
      ]);
      fc.assert(
        fc.property(
          fc.record(Object.fromEntries(fields) as Record<string, fc.Arbitrary<unknown>>),
          (value) => {
            const written = codec.encode(value);
            assert.deepEqual(Buffer.from(written), Buffer.from(toBinary(desc, create(desc, value))));
            assert.deepEqual(
              outcomeOf(() => codec.decode(written)),
              outcomeOf(() => fromBinary(desc, written)),
            );
          },
        ),
      );
    });
  });

function hex(digits: string): Uint8Array {
  return Buffer.from(digits, "hex");
}

/** Groups of an unknown field, one in another. */
function groups(depth: number): Uint8Array {
  return hex("9b01".repeat(depth) + "9c01".repeat(depth));
}

/** An entry of `annotations`. */
function entry(...parts: string[]): Uint8Array {
  return delimited(4, hex(parts.join("")));
}

describe("what a decoder is easily wrong about is read alike", () => {
  for (const [what, bytes, isReadable] of [
    ["nothing", hex(""), true],
    ["a field twice: the last counts", hex("0a01410a0142"), true],
    ["an entry's key twice, its value twice", entry("0a0161", "0a0162", "120101", "120102"), true],
    ["an entry without a key", entry("120101"), true],
    ["an entry without a value", entry("0a0161"), true],
    ["an empty entry", entry(), true],
    ["an unknown field in an entry", entry("1801", "0a0161"), true],
    ["an entry longer than its message", hex("2205120101"), false],
    ["two entries of one key", Buffer.concat([entry("0a0161120101"), entry("0a0161120102")]), true],
    ["an entry named __proto__", entry("0a095f5f70726f746f5f5f120101"), true],
    ["a known field with the wire type of a number", hex("08024142"), true],
    ["a string that is not UTF-8", hex("1202c328"), false],
    ["a string with a byte order mark", hex("1204efbbbf41"), true],
    ["a surrogate in UTF-8", hex("1203eda080"), false],
    ["a length beyond the end", hex("0a05414243"), false],
    ["a length of 2^32 - 1", hex("0affffffff0f41"), false],
    ["a tag of more than 32 bits", hex("8a8080808001"), false],
    ["the number 0", hex("0001"), false],
    ["the end of a group that has not begun", hex("9c01"), false],
    ["wire type 6", hex("0e"), false],
    ["groups as deep as is allowed", groups(99), true],
    ["groups that are deeper", groups(100), false],
    ["a group without an end", hex("9b01"), false],
  ] as const)
    test(what, () => {
      assert.equal(decodeAlike("DecryptRequest", bytes), isReadable);
    });
});

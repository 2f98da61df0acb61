/**
 * Vectors of the codec tests: the examples of KMIP 1.4 section 9.1.2, the edges of every type, messages of this
 * project's own writing, and the frames that test/kmip/operations captured from PyKMIP.
 */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { Tag } from "../../../src/kmip/spec/tags.ts";
import { type Item, ItemType } from "../../../src/kmip/ttlv/item.ts";

/** An item and its encoding. */
export interface Vector {
  readonly name: string;
  readonly item: Item;
  /** Hexadecimal; spaces and bars between the parts of an item. */
  readonly hex: string;
}

export const fromHex = (hex: string): Uint8Array =>
  new Uint8Array(Buffer.from(hex.replaceAll(/[^\da-f]/gi, ""), "hex"));
export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

export const structure = (tag: number, ...value: Item[]): Item => ({ tag, type: ItemType.Structure, value });
export const integer = (tag: number, value: number): Item => ({ tag, type: ItemType.Integer, value });
export const enumeration = (tag: number, value: number): Item => ({ tag, type: ItemType.Enumeration, value });
export const text = (tag: number, value: string): Item => ({ tag, type: ItemType.TextString, value });
export const bytes = (tag: number, value: Uint8Array): Item => ({ tag, type: ItemType.ByteString, value });

const tag = Tag.CompromiseDate;

/** Section 9.1.2, word for word; the tag of the examples is 420020. */
const specificationVectors: readonly Vector[] = [
  {
    name: "an Integer containing the decimal value 8",
    item: integer(tag, 8),
    hex: "42 00 20 | 02 | 00 00 00 04 | 00 00 00 08 00 00 00 00",
  },
  {
    name: "a Long Integer containing the decimal value 123456789000000000",
    item: { tag, type: ItemType.LongInteger, value: 123_456_789_000_000_000n },
    hex: "42 00 20 | 03 | 00 00 00 08 | 01 B6 9B 4B A5 74 92 00",
  },
  {
    name: "a Big Integer containing the decimal value 1234567890000000000000000000",
    item: { tag, type: ItemType.BigInteger, value: fromHex("00000000 03FD35EB 6BC2DF46 18080000") },
    hex: "42 00 20 | 04 | 00 00 00 10 | 00 00 00 00 03 FD 35 EB 6B C2 DF 46 18 08 00 00",
  },
  {
    name: "an Enumeration with value 255",
    item: enumeration(tag, 255),
    hex: "42 00 20 | 05 | 00 00 00 04 | 00 00 00 FF 00 00 00 00",
  },
  {
    name: "a Boolean with the value True",
    item: { tag, type: ItemType.Boolean, value: true },
    hex: "42 00 20 | 06 | 00 00 00 08 | 00 00 00 00 00 00 00 01",
  },
  {
    name: 'a Text String with the value "Hello World"',
    item: text(tag, "Hello World"),
    hex: "42 00 20 | 07 | 00 00 00 0B | 48 65 6C 6C 6F 20 57 6F 72 6C 64 00 00 00 00 00",
  },
  {
    name: "a Byte String with the value { 0x01, 0x02, 0x03 }",
    item: bytes(tag, fromHex("01 02 03")),
    hex: "42 00 20 | 08 | 00 00 00 03 | 01 02 03 00 00 00 00 00",
  },
  {
    name: "a Date-Time, containing the value for Friday, March 14, 2008, 11:56:40 GMT",
    item: { tag, type: ItemType.DateTime, value: BigInt(Date.UTC(2008, 2, 14, 11, 56, 40) / 1000) },
    hex: "42 00 20 | 09 | 00 00 00 08 | 00 00 00 00 47 DA 67 F8",
  },
  {
    name: "an Interval, containing the value for 10 days",
    item: { tag, type: ItemType.Interval, value: 10 * 24 * 3600 },
    hex: "42 00 20 | 0A | 00 00 00 04 | 00 0D 2F 00 00 00 00 00",
  },
  {
    name: "a Structure containing an Enumeration, value 254, followed by an Integer, value 255",
    item: structure(tag, enumeration(0x420004, 254), integer(0x420005, 255)),
    hex:
      "42 00 20 | 01 | 00 00 00 20 | 42 00 04 | 05 | 00 00 00 04 | 00 00 00 FE 00 00 00 00" +
      "| 42 00 05 | 02 | 00 00 00 04 | 00 00 00 FF 00 00 00 00",
  },
];

/** The ends of every range, lengths around the padding, and tags that nobody knows. */
const edgeVectors: readonly Vector[] = [
  {
    name: "the lowest Integer",
    item: integer(tag, -0x8000_0000),
    hex: "420020 02 00000004 80000000 00000000",
  },
  {
    name: "the highest Integer",
    item: integer(tag, 0x7fff_ffff),
    hex: "420020 02 00000004 7fffffff 00000000",
  },
  {
    name: "the Integer -1",
    item: integer(tag, -1),
    hex: "420020 02 00000004 ffffffff 00000000",
  },
  {
    name: "the lowest Long Integer",
    item: { tag, type: ItemType.LongInteger, value: -(2n ** 63n) },
    hex: "420020 03 00000008 8000000000000000",
  },
  {
    name: "the highest Long Integer",
    item: { tag, type: ItemType.LongInteger, value: 2n ** 63n - 1n },
    hex: "420020 03 00000008 7fffffffffffffff",
  },
  {
    name: "a negative Big Integer",
    item: { tag, type: ItemType.BigInteger, value: fromHex("ff".repeat(8)) },
    hex: "420020 04 00000008 ffffffffffffffff",
  },
  {
    name: "a Big Integer with more sign than it needs",
    item: { tag, type: ItemType.BigInteger, value: fromHex("00".repeat(15) + "01") },
    hex: "420020 04 00000010 00000000000000000000000000000001",
  },
  {
    name: "the highest Enumeration, an extension",
    item: enumeration(tag, 0xffff_ffff),
    hex: "420020 05 00000004 ffffffff 00000000",
  },
  {
    name: "a Boolean with the value False",
    item: { tag, type: ItemType.Boolean, value: false },
    hex: "420020 06 00000008 0000000000000000",
  },
  { name: "an empty Text String", item: text(tag, ""), hex: "420020 07 00000000" },
  {
    name: "a Text String of eight bytes, which needs no padding",
    item: text(tag, "12345678"),
    hex: "420020 07 00000008 3132333435363738",
  },
  {
    name: "a Text String that begins with a byte order mark",
    item: text(tag, "\uFEFFa"),
    hex: "420020 07 00000004 efbbbf61 00000000",
  },
  {
    name: "a Text String that holds the replacement character itself",
    item: text(tag, "\uFFFD"),
    hex: "420020 07 00000003 efbfbd 0000000000",
  },
  {
    name: "a Text String that holds a NUL and a character outside the basic plane",
    item: text(tag, "\0𝄞é"),
    hex: "420020 07 00000007 00f09d849ec3a9 00",
  },
  { name: "an empty Byte String", item: bytes(tag, new Uint8Array()), hex: "420020 08 00000000" },
  {
    name: "a Byte String of nine bytes",
    item: bytes(tag, fromHex("01".repeat(9))),
    hex: "420020 08 00000009 010101010101010101 00000000000000",
  },
  {
    name: "a Date-Time before 1970",
    item: { tag, type: ItemType.DateTime, value: -1n },
    hex: "420020 09 00000008 ffffffffffffffff",
  },
  {
    name: "the longest Interval",
    item: { tag, type: ItemType.Interval, value: 0xffff_ffff },
    hex: "420020 0a 00000004 ffffffff 00000000",
  },
  { name: "an empty Structure", item: structure(tag), hex: "420020 01 00000000" },
  {
    name: "an unknown tag of the specification's range",
    item: integer(0x42ffff, 1),
    hex: "42ffff 02 00000004 00000001 00000000",
  },
  {
    name: "an extension",
    item: structure(0x540001, text(0x540002, "x")),
    hex: "540001 01 00000010 540002 07 00000001 78 00000000000000",
  },
];

const keyId = "1e2d6c1a-93a4-4a52-8a5b-3f8a0b1f0c11";

/** A whole Encrypt request as this program sends it, encoded by hand. */
export const encryptRequest: Vector = {
  name: "an Encrypt request",
  item: structure(
    Tag.RequestMessage,
    structure(
      Tag.RequestHeader,
      structure(
        Tag.ProtocolVersion,
        integer(Tag.ProtocolVersionMajor, 1),
        integer(Tag.ProtocolVersionMinor, 4),
      ),
      integer(Tag.BatchCount, 1),
    ),
    structure(
      Tag.BatchItem,
      enumeration(Tag.Operation, 0x1f),
      structure(
        Tag.RequestPayload,
        text(Tag.UniqueIdentifier, keyId),
        structure(Tag.CryptographicParameters, enumeration(Tag.BlockCipherMode, 9)),
        bytes(Tag.Data, fromHex("aa".repeat(32))),
        bytes(Tag.IVCounterNonce, fromHex("bb".repeat(12))),
      ),
    ),
  ),
  hex:
    "420078 01 000000e8 420077 01 00000038 420069 01 00000020" +
    "42006a 02 00000004 00000001 00000000 42006b 02 00000004 00000004 00000000" +
    "42000d 02 00000004 00000001 00000000" +
    "42000f 01 000000a0 42005c 05 00000004 0000001f 00000000 420079 01 00000088" +
    `420094 07 00000024 ${Buffer.from(keyId).toString("hex")} 00000000` +
    "42002b 01 00000010 420011 05 00000004 00000009 00000000" +
    `4200c2 08 00000020 ${"aa".repeat(32)} 42003d 08 0000000c ${"bb".repeat(12)} 00000000`,
};

export const vectors: readonly Vector[] = [...specificationVectors, ...edgeVectors, encryptRequest];

/** Every frame that another KMIP implementation made, by file and position. */
export function capturedFrames(): { readonly name: string; readonly hex: string }[] {
  const folder = path.join(import.meta.dirname, "../operations/vectors");
  return globSync("*.json", { cwd: folder })
    .toSorted()
    .flatMap((file) => {
      const frames = readFileSync(path.join(folder, file), "utf8").matchAll(/"(4200(?:78|7b)01[\da-f]+)"/g);
      return [...frames].map(([, hex = ""], index) => ({ name: `${file} ${index}`, hex }));
    });
}

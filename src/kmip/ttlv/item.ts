/**
 * A decoded TTLV item, KMIP 1.4 section 9.1. Lossless: whatever is well-formed decodes to items and encodes
 * back to the same bytes, so Big Integer stays bytes (its sign extension is the sender's choice), Date-Time
 * stays seconds, and unknown tags and enumeration values stay numbers.
 */

/** Item Type, KMIP 1.4 section 9.1.1.2. */
export const ItemType = {
  Structure: 0x01,
  Integer: 0x02,
  LongInteger: 0x03,
  BigInteger: 0x04,
  Enumeration: 0x05,
  Boolean: 0x06,
  TextString: 0x07,
  ByteString: 0x08,
  DateTime: 0x09,
  Interval: 0x0a,
} as const;
export type ItemType = (typeof ItemType)[keyof typeof ItemType];

interface ItemOf<Type extends ItemType, Value> {
  /** Three bytes: 0x420000–0x42ffff for the specification's, 0x540000–0x54ffff for extensions. */
  readonly tag: number;
  readonly type: Type;
  readonly value: Value;
}

/** Holds items, in the order of the wire. */
export type StructureItem = ItemOf<typeof ItemType.Structure, readonly Item[]>;
/** Signed, 32 bits. */
export type IntegerItem = ItemOf<typeof ItemType.Integer, number>;
/** Signed, 64 bits. */
export type LongIntegerItem = ItemOf<typeof ItemType.LongInteger, bigint>;
/** Two's complement, big-endian, a multiple of 8 bytes as on the wire. */
export type BigIntegerItem = ItemOf<typeof ItemType.BigInteger, Uint8Array>;
/** Unsigned, 32 bits. */
export type EnumerationItem = ItemOf<typeof ItemType.Enumeration, number>;
export type BooleanItem = ItemOf<typeof ItemType.Boolean, boolean>;
/** UTF-8 on the wire. */
export type TextStringItem = ItemOf<typeof ItemType.TextString, string>;
export type ByteStringItem = ItemOf<typeof ItemType.ByteString, Uint8Array>;
/** Seconds since 1970-01-01T00:00:00Z, signed, 64 bits. */
export type DateTimeItem = ItemOf<typeof ItemType.DateTime, bigint>;
/** Seconds, unsigned, 32 bits. */
export type IntervalItem = ItemOf<typeof ItemType.Interval, number>;

/** Any item. */
export type Item =
  | StructureItem
  | IntegerItem
  | LongIntegerItem
  | BigIntegerItem
  | EnumerationItem
  | BooleanItem
  | TextStringItem
  | ByteStringItem
  | DateTimeItem
  | IntervalItem;

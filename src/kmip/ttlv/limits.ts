/** What the codec accepts of a message, and the layout numbers that reader, writer and framer share. */

/** How a message may be bounded. */
export interface TtlvLimits {
  /** Items within items, the root counting as one. Default: 32. */
  readonly maxDepth?: number;
  /** A whole message with its header, in bytes. Default: 1 MiB. */
  readonly maxMessageBytes?: number;
  /** Items of a message in all, the root and the Structures included. Default: 16 384. */
  readonly maxItems?: number;
}

export const defaultMaxDepth = 32;
export const defaultMaxMessageBytes = 1 << 20;
/** An item takes some 100 bytes of memory once decoded, and 8 on the wire. */
export const defaultMaxItems = 1 << 14;

/** Tag (3), Type (1), Length (4), KMIP 1.4 section 9.1.1. */
export const headerBytes = 8;

/** First bytes of a tag: the specification's own, and extensions, section 9.1.1.1. */
export const specificationTagByte = 0x42;
export const extensionTagByte = 0x54;

/** The bytes that a value of this length takes on the wire: every item ends on a multiple of 8, section 9.1.1.3. */
export function paddedBytes(length: number): number {
  return Math.ceil(length / 8) * 8;
}

/** Whether a number can be the tag of an item: three bytes, of which the first says whose it is. */
export function isTag(tag: number): boolean {
  const first = tag >>> 16;
  return Number.isInteger(tag) && (first === specificationTagByte || first === extensionTagByte);
}

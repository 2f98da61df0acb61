/**
 * As much of DER (X.690) as certificates and PKCS #12 files need: items of a definite length, read with their bounds
 * checked. What an item means is the caller's affair.
 */

/** Bytes that are not DER, or not of the expected shape. */
export class DerError extends Error {
  override readonly name = "DerError";
}

/** One item. */
export interface DerItem {
  /** The identifier octet: 0x30 is a SEQUENCE, 0xa0 the context tag [0]. */
  readonly tag: number;
  readonly content: Buffer;
  /** Tag, length and content. */
  readonly bytes: Buffer;
}

/** Universal tags. */
export const DerTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The items that fill `bytes`, in their order. @throws DerError */
export function readDerItems(bytes: Buffer): DerItem[] {
  const items: DerItem[] = [];
  for (let rest = bytes; rest.length > 0;) {
    const item = readDer(rest);
    items.push(item);
    rest = rest.subarray(item.bytes.length);
  }
  return items;
}

/** The item that begins `bytes`. @throws DerError */
export function readDer(bytes: Buffer): DerItem {
  const [tag, first] = bytes;
  if (tag === undefined || first === undefined) throw new DerError("it ends within an item");
  if ((tag & 0x1f) === 0x1f) throw new DerError("a tag of several bytes");
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  // 0x80 alone is the indefinite length of BER.
  if (first >= 0x80 && (lengthBytes === 0 || lengthBytes > 4))
    throw new DerError("a length that is not DER's");
  const head = 2 + lengthBytes;
  if (bytes.length < head) throw new DerError("it ends within a length");
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(2, lengthBytes);
  if (bytes.length - head < length) throw new DerError("it ends within an item");
  return { tag, content: bytes.subarray(head, head + length), bytes: bytes.subarray(0, head + length) };
}

/** The items within one of this tag. @throws DerError where it has another tag or is undefined */
export function childrenOf(item: DerItem | undefined, tag: number): DerItem[] {
  return readDerItems(contentOf(item, tag));
}

/** The content of an item of this tag. @throws DerError where it has another tag or is undefined */
export function contentOf(item: DerItem | undefined, tag: number): Buffer {
  if (item?.tag !== tag) throw new DerError(`no item of tag 0x${tag.toString(16)}`);
  return item.content;
}

/** A non-negative integer of at most 6 bytes. @throws DerError */
export function integerOf(item: DerItem | undefined): number {
  const content = contentOf(item, DerTag.integer);
  const value = content.length >= 1 && content.length <= 6 ? content.readUIntBE(0, content.length) : -1;
  if (value < 0 || (content[0] ?? 0) >= 0x80) throw new DerError("a number out of range");
  return value;
}

/** An object identifier in its dotted form. @throws DerError */
export function oidOf(item: DerItem | undefined): string {
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of contentOf(item, DerTag.oid)) {
    arc = arc * 0x80 + (byte & 0x7f);
    if (byte >= 0x80) continue;
    arcs.push(arc);
    arc = 0;
  }
  const [first = 0, ...rest] = arcs;
  const top = Math.min(Math.floor(first / 40), 2);
  return [top, first - top * 40, ...rest].join(".");
}

/**
 * Bytes to items, KMIP 1.4 section 9.1. Every length is checked against its type and against the bytes that are
 * there before anything is allocated, and padding must be zero, so that what decodes encodes to the same bytes.
 */
import { isUtf8 } from "node:buffer";
import { type ErrorCode, TtlvError } from "../../errors.ts";
import { hexadecimal } from "../spec/names.ts";
import { type Item, ItemType } from "./item.ts";
import {
  defaultMaxDepth,
  defaultMaxItems,
  defaultMaxMessageBytes,
  extensionTagByte,
  headerBytes,
  paddedBytes,
  specificationTagByte,
  type TtlvLimits,
} from "./limits.ts";
import { pathInBytes } from "./path.ts";

/** The message being read. `bytes` and `text` are views of the same memory. */
interface Source {
  readonly bytes: Uint8Array;
  readonly text: Buffer;
  readonly view: DataView;
  readonly maxDepth: number;
  /** How many more items may follow. */
  itemsLeft: number;
  /** Where the next item starts. */
  at: number;
}

type TtlvCode = Extract<ErrorCode, `TTLV_${string}`>;

function fault(source: Source, code: TtlvCode, message: string, offset: number): TtlvError {
  return new TtlvError(code, message, { offset, path: pathInBytes(source.view, offset) });
}

/** Reads a tag, and leaves `source` as it is. */
function readTag(source: Source, start: number): number {
  const first = source.view.getUint8(start);
  if (first !== specificationTagByte && first !== extensionTagByte)
    throw fault(source, "TTLV_TAG", `a tag cannot begin with ${hexadecimal(first, 2)}`, start);
  return source.view.getUint32(start) >>> 8;
}

/** The length that a type fixes on the wire; undefined where it varies. Section 9.1.1.3. */
function fixedLength(type: number): number | undefined {
  switch (type) {
    case ItemType.Integer:
    case ItemType.Enumeration:
    case ItemType.Interval:
      return 4;
    case ItemType.LongInteger:
    case ItemType.Boolean:
    case ItemType.DateTime:
      return 8;
    default:
      return undefined;
  }
}

/** Reads a length and checks it against the type and against what the surrounding item has left. */
function readLength(source: Source, type: number, start: number, end: number): number {
  const length = source.view.getUint32(start + 4);
  const fixed = fixedLength(type);
  if (fixed !== undefined && length !== fixed)
    throw fault(source, "TTLV_LENGTH", `length ${length} where the type has ${fixed}`, start + 4);
  if ((type === ItemType.Structure || type === ItemType.BigInteger) && length % 8 !== 0)
    throw fault(source, "TTLV_LENGTH", `length ${length} is not a multiple of 8`, start + 4);
  const left = end - start - headerBytes;
  if (paddedBytes(length) <= left) return length;
  const code = start === 0 ? "TTLV_TRUNCATED" : "TTLV_LENGTH";
  throw fault(source, code, `length ${length} where ${left} bytes are left`, start + 4);
}

/** Padding that is not zero would be lost, and could carry hidden data. */
function expectZeros(source: Source, from: number, to: number): void {
  for (let at = from; at < to; at += 1)
    if (source.bytes[at] !== 0) throw fault(source, "TTLV_PADDING", "padding is not zero", at);
}

function readItems(source: Source, end: number, depth: number): Item[] {
  const items: Item[] = [];
  while (source.at < end) items.push(readItem(source, end, depth));
  return items;
}

function readBoolean(source: Source, at: number): boolean {
  const low = source.view.getUint32(at + 4);
  if (source.view.getUint32(at) !== 0 || low > 1)
    throw fault(source, "TTLV_VALUE", "a Boolean is 0 or 1", at);
  return low === 1;
}

function readText(source: Source, start: number, length: number): string {
  const text = source.text.toString("utf8", start, start + length);
  // Malformed bytes become U+FFFD: only where there is one must the bytes be looked at again.
  if (text.includes("\uFFFD") && !isUtf8(source.bytes.subarray(start, start + length)))
    throw fault(source, "TTLV_UTF8", "a Text String that is not UTF-8", start);
  return text;
}

function readItem(source: Source, end: number, depth: number): Item {
  const start = source.at;
  if (depth > source.maxDepth)
    throw fault(source, "TTLV_DEPTH", `deeper than ${source.maxDepth} items`, start);
  if (source.itemsLeft === 0) throw fault(source, "TTLV_LENGTH", "too many items in a message", start);
  source.itemsLeft -= 1;
  if (end - start < headerBytes)
    throw fault(source, start === 0 ? "TTLV_TRUNCATED" : "TTLV_LENGTH", "no room for a header", start);
  const tag = readTag(source, start);
  const type = source.view.getUint8(start + 3);
  const length = readLength(source, type, start, end);
  const at = start + headerBytes;
  source.at = at + paddedBytes(length);
  expectZeros(source, at + length, source.at);
  switch (type) {
    case ItemType.Structure: {
      source.at = at;
      return { tag, type, value: readItems(source, at + length, depth + 1) };
    }
    case ItemType.Integer:
      return { tag, type, value: source.view.getInt32(at) };
    case ItemType.LongInteger:
    case ItemType.DateTime:
      return { tag, type, value: source.view.getBigInt64(at) };
    case ItemType.Enumeration:
    case ItemType.Interval:
      return { tag, type, value: source.view.getUint32(at) };
    case ItemType.Boolean:
      return { tag, type, value: readBoolean(source, at) };
    case ItemType.TextString:
      return { tag, type, value: readText(source, at, length) };
    case ItemType.BigInteger:
    case ItemType.ByteString:
      return { tag, type, value: source.bytes.slice(at, at + length) };
    default:
      throw fault(source, "TTLV_TYPE", `no item type ${hexadecimal(type, 2)}`, start + 3);
  }
}

/**
 * Decodes one message: one item, and nothing behind it. Nothing in the result shares memory with `bytes`.
 * Throws a {@link TtlvError} with the offset and the path of the fault, and nothing else.
 */
export function decodeItem(bytes: Uint8Array, limits: TtlvLimits = {}): Item {
  const { buffer, byteOffset, byteLength } = bytes;
  const source: Source = {
    bytes: new Uint8Array(buffer, byteOffset, byteLength),
    text: Buffer.from(buffer, byteOffset, byteLength),
    view: new DataView(buffer, byteOffset, byteLength),
    maxDepth: limits.maxDepth ?? defaultMaxDepth,
    itemsLeft: limits.maxItems ?? defaultMaxItems,
    at: 0,
  };
  const maxMessageBytes = limits.maxMessageBytes ?? defaultMaxMessageBytes;
  if (byteLength > maxMessageBytes)
    throw fault(source, "TTLV_LENGTH", `a message of ${byteLength} bytes, over ${maxMessageBytes}`, 0);
  const item = readItem(source, byteLength, 1);
  if (source.at === byteLength) return item;
  const extra = byteLength - source.at;
  throw new TtlvError("TTLV_LENGTH", `${extra} bytes after the message`, { offset: source.at, path: "" });
}

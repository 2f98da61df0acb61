/**
 * Items to bytes, KMIP 1.4 section 9.1. One growing buffer; the length of a Structure is written back once its
 * items are there. Every value is checked against the range of its type: nothing is cut, wrapped or replaced.
 */
import { type ErrorCode, TtlvError } from "../../errors.ts";
import { hexadecimal } from "../spec/names.ts";
import { type Item, ItemType } from "./item.ts";
import {
  defaultMaxDepth,
  defaultMaxMessageBytes,
  headerBytes,
  isTag,
  paddedBytes,
  type TtlvLimits,
} from "./limits.ts";
import { pathOfTrail } from "./path.ts";

/** The message being written. */
interface Sink {
  bytes: Buffer;
  view: DataView;
  /** Bytes written so far. */
  at: number;
  /** From the root to the item being written: for the path of an error. */
  readonly trail: Item[];
  readonly maxDepth: number;
  readonly maxMessageBytes: number;
}

/** An Encrypt of a key encryption key's size fits without growing. */
const initialBytes = 512;

function fault(sink: Sink, code: Extract<ErrorCode, `TTLV_${string}`>, message: string): TtlvError {
  return new TtlvError(code, message, { offset: sink.at, path: pathOfTrail(sink.trail) });
}

/** Own memory, zeroed: the shared pool behind `allocUnsafe` would leave a message readable through `.buffer`. */
function allocate(size: number): { bytes: Buffer; view: DataView } {
  const memory = new ArrayBuffer(size);
  return { bytes: Buffer.from(memory), view: new DataView(memory) };
}

/** Makes room for `size` more bytes; throws where the message would pass its limit. */
function reserve(sink: Sink, size: number): void {
  const needed = sink.at + size;
  if (needed > sink.maxMessageBytes)
    throw fault(sink, "TTLV_LENGTH", `a message of more than ${sink.maxMessageBytes} bytes`);
  if (needed <= sink.bytes.length) return;
  const larger = allocate(Math.min(Math.max(needed, sink.bytes.length * 2), sink.maxMessageBytes));
  larger.bytes.set(sink.bytes.subarray(0, sink.at));
  sink.bytes = larger.bytes;
  sink.view = larger.view;
}

/** Writes a header, and makes room for the value behind it with its padding, which is zero already. */
function writeHeader(sink: Sink, item: Item, length: number): void {
  reserve(sink, headerBytes + paddedBytes(length));
  sink.view.setUint32(sink.at, ((item.tag << 8) | item.type) >>> 0);
  sink.view.setUint32(sink.at + 4, length);
  sink.at += headerBytes;
}

function expectInteger(sink: Sink, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max)
    throw fault(sink, "TTLV_VALUE", `not an integer from ${min} to ${max}`);
}

function writeSigned32(sink: Sink, item: Item, value: number): void {
  expectInteger(sink, value, -0x8000_0000, 0x7fff_ffff);
  writeHeader(sink, item, 4);
  sink.view.setInt32(sink.at, value);
  sink.at += 8;
}

function writeUnsigned32(sink: Sink, item: Item, value: number): void {
  expectInteger(sink, value, 0, 0xffff_ffff);
  writeHeader(sink, item, 4);
  sink.view.setUint32(sink.at, value);
  sink.at += 8;
}

function writeSigned64(sink: Sink, item: Item, value: bigint): void {
  if (typeof value !== "bigint" || BigInt.asIntN(64, value) !== value)
    throw fault(sink, "TTLV_VALUE", "not a bigint of 64 bits, signed");
  writeHeader(sink, item, 8);
  sink.view.setBigInt64(sink.at, value);
  sink.at += 8;
}

function writeBoolean(sink: Sink, item: Item, value: boolean): void {
  if (typeof value !== "boolean") throw fault(sink, "TTLV_VALUE", "not a Boolean");
  writeHeader(sink, item, 8);
  sink.view.setUint8(sink.at + 7, value ? 1 : 0);
  sink.at += 8;
}

function writeText(sink: Sink, item: Item, value: string): void {
  // A lone surrogate has no UTF-8; it would come out as U+FFFD, which is another string.
  if (typeof value !== "string" || !value.isWellFormed())
    throw fault(sink, "TTLV_UTF8", "not a string of whole Unicode characters");
  const length = Buffer.byteLength(value);
  writeHeader(sink, item, length);
  sink.bytes.write(value, sink.at);
  sink.at += paddedBytes(length);
}

function writeBytes(sink: Sink, item: Item, value: Uint8Array): void {
  if (!(value instanceof Uint8Array)) throw fault(sink, "TTLV_VALUE", "not a Uint8Array");
  if (item.type === ItemType.BigInteger && value.length % 8 !== 0)
    throw fault(sink, "TTLV_LENGTH", `a Big Integer of ${value.length} bytes, not a multiple of 8`);
  writeHeader(sink, item, value.length);
  sink.bytes.set(value, sink.at);
  sink.at += paddedBytes(value.length);
}

function writeStructure(sink: Sink, item: Item, items: readonly Item[]): void {
  writeHeader(sink, item, 0);
  const start = sink.at;
  for (const child of items) writeItem(sink, child);
  sink.view.setUint32(start - 4, sink.at - start);
}

function writeValue(sink: Sink, item: Item): void {
  switch (item.type) {
    case ItemType.Structure:
      return writeStructure(sink, item, item.value);
    case ItemType.Integer:
      return writeSigned32(sink, item, item.value);
    case ItemType.LongInteger:
    case ItemType.DateTime:
      return writeSigned64(sink, item, item.value);
    case ItemType.Enumeration:
    case ItemType.Interval:
      return writeUnsigned32(sink, item, item.value);
    case ItemType.Boolean:
      return writeBoolean(sink, item, item.value);
    case ItemType.TextString:
      return writeText(sink, item, item.value);
    case ItemType.BigInteger:
    case ItemType.ByteString:
      return writeBytes(sink, item, item.value);
    default:
      throw fault(sink, "TTLV_TYPE", `no item type ${String((item as Item).type)}`);
  }
}

function writeItem(sink: Sink, item: Item): void {
  sink.trail.push(item);
  if (sink.trail.length > sink.maxDepth)
    throw fault(sink, "TTLV_DEPTH", `deeper than ${sink.maxDepth} items`);
  if (!isTag(item.tag)) throw fault(sink, "TTLV_TAG", `no tag ${hexadecimal(item.tag, 6)}`);
  writeValue(sink, item);
  sink.trail.pop();
}

/**
 * Encodes one item with all that is in it, as one message. The result owns its memory.
 * Throws a {@link TtlvError} with the path of an item whose tag, type or value has no encoding.
 */
export function encodeItem(item: Item, limits: TtlvLimits = {}): Uint8Array {
  const sink: Sink = {
    ...allocate(initialBytes),
    at: 0,
    trail: [],
    maxDepth: limits.maxDepth ?? defaultMaxDepth,
    maxMessageBytes: limits.maxMessageBytes ?? defaultMaxMessageBytes,
  };
  writeItem(sink, item);
  return new Uint8Array(sink.bytes.buffer, 0, sink.at);
}

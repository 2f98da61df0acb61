/**
 * A bbolt file, read page by page and never written: meta pages with their checksums, buckets, and the elements of one
 * in descending order. Formats as in go.etcd.io/bbolt (page.go, meta.go, bucket.go). Every length and every number of a
 * page is checked before use, so that a damaged file ends in an error. Leaves out the freelist.
 */
import { readSync } from "node:fs";
import { ProviderError } from "../errors.ts";

const magic = 0xed0cdaed;
const fileVersion = 2;
const pageHeaderBytes = 16;
const metaBytes = 64;
const elementBytes = 16;
const bucketHeaderBytes = 16;
const branchFlag = 0x01;
const leafFlag = 0x02;
const metaFlag = 0x04;
const bucketElementFlag = 0x01;
/** bbolt's own page sizes are the operating system's: 4 KiB to 64 KiB. */
const pageSizes = [4096, 8192, 16_384, 32_768, 65_536, 1024, 2048, 131_072, 262_144] as const;
/** A page spans several where a value is long: etcd takes requests of 1.5 MiB by default. */
const mostPageBytes = 256 * 1024 * 1024;
/** A tree of the widest fan-out that a file can hold is far less deep. */
const mostDepth = 32;

/** A file to read, of which only the first `size` bytes are bbolt's. */
export interface BboltFile {
  readonly descriptor: number;
  readonly size: number;
  /** For messages. */
  readonly name: string;
}

/** One element of a bucket. Both are views of a page. */
export interface Element {
  readonly key: Buffer;
  readonly value: Buffer;
}

interface Meta {
  readonly pageSize: number;
  readonly root: number;
  /** The number of pages in use, the first that is not. */
  readonly highWater: number;
  readonly txid: bigint;
}

interface Page {
  readonly isLeaf: boolean;
  readonly count: number;
  readonly bytes: Buffer;
  /** Of the file's pages, how many this one takes. */
  readonly span: number;
}

/** An open file. */
export interface Bbolt {
  /** Pages in use: the unit of progress. */
  readonly pages: number;
  /**
   * The elements of a top-level bucket, the greatest key first; undefined where there is no such bucket.
   * @param onPage called with the number of pages that each step of the walk has read
   * @throws ETCD_DATA
   */
  descending(bucket: string, onPage?: (span: number) => void): Generator<Element> | undefined;
}

/**
 * Opens a file by the newest of its two meta pages that is whole.
 * @throws ETCD_DATA where there is none, or the file is shorter than it says
 */
export function openBbolt(file: BboltFile): Bbolt {
  const meta = newestMeta(file);
  if (meta === undefined) throw damaged(file, "neither of its two meta pages is valid");
  if (meta.highWater * meta.pageSize > file.size)
    throw damaged(
      file,
      `it is cut: ${meta.highWater * meta.pageSize} bytes are in use, ${file.size} are there`,
    );
  const reader = new PageReader(file, meta);
  return {
    pages: meta.highWater,
    descending(bucket, onPage) {
      const root = bucketRoot(reader, bucket);
      return root === undefined ? undefined : reader.descending(root, onPage);
    },
  };
}

/** Whether the file begins as bbolt's do, whatever state it is in. */
export function looksLikeBbolt(file: BboltFile): boolean {
  return pageSizes.some((pageSize) =>
    [0, pageSize].some((at) => {
      const bytes = readAt(file, at + pageHeaderBytes, 8);
      return bytes.length === 8 && bytes.readUInt32LE(0) === magic;
    }),
  );
}

function newestMeta(file: BboltFile): Meta | undefined {
  const first = readMeta(file, 0);
  const sizes = first === undefined ? pageSizes : [first.pageSize];
  const metas = [first, ...sizes.map((size) => readMeta(file, size))].filter((meta) => meta !== undefined);
  return metas.toSorted((a, b) => Number(b.txid - a.txid))[0];
}

/** The meta page at an offset; undefined where there is no valid one. */
function readMeta(file: BboltFile, offset: number): Meta | undefined {
  const bytes = readAt(file, offset, pageHeaderBytes + metaBytes);
  if (bytes.length < pageHeaderBytes + metaBytes || (bytes.readUInt16LE(8) & metaFlag) === 0)
    return undefined;
  const meta = bytes.subarray(pageHeaderBytes);
  if (meta.readUInt32LE(0) !== magic || meta.readUInt32LE(4) !== fileVersion) return undefined;
  if (meta.readBigUInt64LE(56) !== fnv1a(meta.subarray(0, 56))) return undefined;
  const pageSize = meta.readUInt32LE(8);
  const highWater = Number(meta.readBigUInt64LE(40));
  const isPowerOfTwo = pageSize >= 512 && (pageSize & (pageSize - 1)) === 0;
  if (!isPowerOfTwo || (offset !== 0 && offset !== pageSize) || !Number.isSafeInteger(highWater))
    return undefined;
  return { pageSize, root: Number(meta.readBigUInt64LE(16)), highWater, txid: meta.readBigUInt64LE(48) };
}

const fnvOffset = 0xcbf29ce484222325n;
const fnvPrime = 0x100000001b3n;

/** FNV-1a, 64 bits: the checksum of a meta page. */
function fnv1a(bytes: Buffer): bigint {
  let hash = fnvOffset;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * fnvPrime);
  return hash;
}

/** Finds a bucket in the root bucket, which holds a handful. A small one lies inside its element. */
function bucketRoot(reader: PageReader, name: string): Page | undefined {
  const wanted = Buffer.from(name);
  for (const { key, value, flags } of reader.elements(reader.page(reader.meta.root))) {
    if (!key.equals(wanted) || (flags & bucketElementFlag) === 0) continue;
    if (value.length < bucketHeaderBytes) throw reader.damaged(`the bucket "${name}" has no header`);
    const root = Number(value.readBigUInt64LE(0));
    return root === 0 ? reader.parse(value.subarray(bucketHeaderBytes), 0, 0) : reader.page(root);
  }
  return undefined;
}

class PageReader {
  readonly meta: Meta;
  readonly #file: BboltFile;

  constructor(file: BboltFile, meta: Meta) {
    this.#file = file;
    this.meta = meta;
  }

  damaged(what: string): ProviderError {
    return damaged(this.#file, what);
  }

  /** Reads a page of a tree, with the pages that it runs over into. */
  page(id: number): Page {
    const { pageSize, highWater } = this.meta;
    if (!Number.isSafeInteger(id) || id < 2 || id >= highWater)
      throw this.damaged(`page ${id} is referred to, and is none of its ${highWater}`);
    const first = readAt(this.#file, id * pageSize, pageSize);
    if (first.length < pageSize) throw this.damaged(`it ends in page ${id}`);
    if (first.readBigUInt64LE(0) !== BigInt(id)) throw this.damaged(`page ${id} says it is another one`);
    const span = first.readUInt32LE(12) + 1;
    if (id + span > highWater || span * pageSize > mostPageBytes)
      throw this.damaged(`page ${id} says that it takes ${span} pages`);
    return this.parse(span === 1 ? first : readAt(this.#file, id * pageSize, span * pageSize), id, span);
  }

  /** Checks the header of a page: its kind, and that its elements fit. */
  parse(bytes: Buffer, id: number, span: number): Page {
    const flags = bytes.length < pageHeaderBytes ? 0 : bytes.readUInt16LE(8);
    if (flags !== leafFlag && flags !== branchFlag)
      throw this.damaged(`page ${id} is of an unknown kind (${flags})`);
    const count = bytes.readUInt16LE(10);
    if (pageHeaderBytes + count * elementBytes > bytes.length)
      throw this.damaged(`page ${id} has no room for its ${count} elements`);
    return { isLeaf: flags === leafFlag, count, bytes, span };
  }

  /** The elements of a leaf, or of every leaf under a branch, in ascending order: for a few. */
  *elements(page: Page, depth = 0): Generator<Element & { readonly flags: number }> {
    if (depth > mostDepth) throw this.damaged("its tree is deeper than any can be");
    for (let index = 0; index < page.count; index += 1)
      if (page.isLeaf) yield this.#leaf(page, index);
      else yield* this.elements(this.page(this.#child(page, index)), depth + 1);
  }

  /** Walks the tree from its right end. A page that is met twice, or keys out of order, end it. */
  *descending(root: Page, onPage?: (span: number) => void): Generator<Element> {
    const stack = [{ page: root, index: root.count }];
    let seen = root.span;
    let previous: Buffer | undefined;
    onPage?.(root.span);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      if (top.index === 0) {
        stack.pop();
        continue;
      }
      top.index -= 1;
      if (top.page.isLeaf) {
        const element = this.#leaf(top.page, top.index);
        if (previous !== undefined && previous.compare(element.key) <= 0)
          throw this.damaged("its keys are not in order");
        previous = element.key;
        yield element;
        continue;
      }
      const page = this.page(this.#child(top.page, top.index));
      seen += page.span;
      if (seen > this.meta.highWater || stack.length > mostDepth)
        throw this.damaged("its tree has more pages than the file");
      onPage?.(page.span);
      stack.push({ page, index: page.count });
    }
  }

  #leaf({ bytes }: Page, index: number): Element & { readonly flags: number } {
    const at = pageHeaderBytes + index * elementBytes;
    const start = at + bytes.readUInt32LE(at + 4);
    const middle = start + bytes.readUInt32LE(at + 8);
    const end = middle + bytes.readUInt32LE(at + 12);
    if (end > bytes.length) throw this.damaged("an element reaches out of its page");
    return {
      flags: bytes.readUInt32LE(at),
      key: bytes.subarray(start, middle),
      value: bytes.subarray(middle, end),
    };
  }

  #child({ bytes }: Page, index: number): number {
    return Number(bytes.readBigUInt64LE(pageHeaderBytes + index * elementBytes + 8));
  }
}

/** Up to `length` bytes: fewer at the end of the file. */
export function readAt({ descriptor, size }: BboltFile, offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - offset)));
  let filled = 0;
  while (filled < bytes.length) {
    const read = readSync(descriptor, bytes, filled, bytes.length - filled, offset + filled);
    if (read === 0) break;
    filled += read;
  }
  return bytes.subarray(0, filled);
}

function damaged({ name }: BboltFile, what: string): ProviderError {
  return new ProviderError("ETCD_DATA", `${name} is damaged: ${what}`);
}

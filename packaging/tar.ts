/**
 * Tar archives (POSIX.1-2001 ustar) that are the same bytes each time: the owner is root, the time is one for all, the
 * order is the paths'. Holds what a package has: folders, files, symbolic links.
 */

/** What is at a path of an archive. */
export type Entry =
  | { readonly path: string; readonly kind: "file"; readonly mode: number; readonly data: Uint8Array }
  | { readonly path: string; readonly kind: "folder"; readonly mode: number }
  | { readonly path: string; readonly kind: "link"; readonly target: string };

const blockBytes = 512;

/**
 * Writes an archive. Folders above a path that have no entry are not made.
 * @param time of every entry, in s since 1970
 * @throws RangeError where a path does not fit (100 bytes, or 255 where it can be split at a slash)
 */
export function tar(entries: readonly Entry[], time: number): Buffer {
  const parts: Uint8Array[] = [];
  for (const entry of entries.toSorted((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)))) {
    parts.push(header(entry, time));
    if (entry.kind !== "file") continue;
    parts.push(entry.data, new Uint8Array(-entry.data.length & (blockBytes - 1)));
  }
  return Buffer.concat([...parts, new Uint8Array(2 * blockBytes)]);
}

const types = { file: "0", link: "2", folder: "5" } as const;

function header(entry: Entry, time: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  const [prefix, name] = split(entry.kind === "folder" ? `${entry.path}/` : entry.path);
  block.write(name, 0);
  block.write(octal(entry.kind === "link" ? 0o777 : entry.mode, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(entry.kind === "file" ? entry.data.length : 0, 11), 124);
  block.write(octal(time, 11), 136);
  block.write(" ".repeat(8), 148);
  block.write(types[entry.kind], 156);
  if (entry.kind === "link") block.write(entry.target, 157);
  block.write("ustar\u000000", 257, "latin1");
  block.write("root", 265);
  block.write("root", 297);
  block.write(prefix, 345);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)}\0 `, 148);
  return block;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}

/** A path as the header's prefix and name. */
function split(path: string): readonly [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= 100) return ["", path];
  for (let at = path.indexOf("/"); at !== -1; at = path.indexOf("/", at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (name !== "" && Buffer.byteLength(name) <= 100 && Buffer.byteLength(prefix) <= 155)
      return [prefix, name];
  }
  throw new RangeError(`${path} does not fit into a tar header`);
}

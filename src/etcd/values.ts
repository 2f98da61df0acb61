/**
 * Single values and small exports: a file with the bytes of one value (`etcdctl get KEY --print-value-only`), and what
 * `etcdctl get -w json` prints. Both are held in memory.
 */
import { openSync, constants, fstatSync, readFileSync, closeSync } from "node:fs";
import * as v from "valibot";
import { ProviderError } from "../errors.ts";
import { parseEnvelope } from "./envelope.ts";
import { type Entry, keyRange, type Source } from "./source.ts";

/** Longer than any export that is made by hand, and short enough for one string. */
const mostBytes = 256 * 1024 * 1024;
const newline = 0x0a;

/** A file with one value as a source. @param key its etcd key, which is part of what its tag protects */
export function createValueSource(file: string, key: string): Source {
  const name = `value ${file}`;
  return {
    kind: "value",
    name,
    facts: () => ({}),
    // oxlint-disable-next-line require-await -- the interface is asynchronous
    async *read() {
      const value = readWhole(file, name);
      if (value.length === 0) throw new ProviderError("ETCD_DATA", `${name} is empty`);
      yield { key, value: withoutNewline(value), revision: 0, state: "current" } satisfies Entry;
    },
  };
}

/** etcdctl ends what it prints with a newline, which may be part of a value too. */
function withoutNewline(value: Buffer): Buffer {
  if (value.at(-1) !== newline) return value;
  return parseEnvelope(value).kind === "unknown" ? value.subarray(0, -1) : value;
}

function readWhole(file: string, name: string): Buffer {
  try {
    const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (!fstatSync(descriptor).isFile()) throw new Error("not a file");
      if (fstatSync(descriptor).size > mostBytes) throw new Error("longer than 256 MiB");
      return readFileSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw new ProviderError("ETCD_DATA", `${name} cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

const bytesShape = v.pipe(v.string(), v.base64());
const kvShape = v.object({
  key: bytesShape,
  value: v.optional(bytesShape, ""),
  mod_revision: v.optional(v.number(), 0),
});
const getShape = v.union([
  v.array(kvShape),
  v.object({
    // It is always there, and the rest only where a key was found.
    header: v.object({ revision: v.optional(v.number()) }),
    kvs: v.optional(v.array(kvShape), []),
    more: v.optional(v.boolean(), false),
  }),
]);
type Get = v.InferOutput<typeof getShape>;

/** What `etcdctl get -w json` prints as a source; several outputs may follow one another, one a line. */
export function createEtcdctlSource(input: NodeJS.ReadableStream, prefix: string): Source {
  const name = "standard input";
  let revision: number | undefined;
  return {
    kind: "etcdctl",
    name,
    facts: () => (revision === undefined ? {} : { revision }),
    async *read({ onNote } = {}) {
      const { start } = keyRange(prefix);
      for (const get of parseAll(await readAll(input), name)) {
        if (!Array.isArray(get)) revision = get.header.revision ?? revision;
        if (!Array.isArray(get) && get.more)
          onNote?.("the input holds only a part of its range: etcdctl had a limit");
        for (const { key, value, mod_revision: modified } of Array.isArray(get) ? get : get.kvs) {
          const text = Buffer.from(key, "base64").toString("utf8");
          if (!text.startsWith(start)) continue;
          yield {
            key: text,
            value: Buffer.from(value, "base64"),
            revision: modified,
            state: "current",
          } satisfies Entry;
        }
      }
    },
  };
}

async function readAll(input: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of input) {
    const bytes = Buffer.from(chunk);
    length += bytes.length;
    if (length > mostBytes)
      throw new ProviderError(
        "ETCD_DATA",
        "standard input is longer than 256 MiB: give a snapshot in its place",
      );
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** One document, or one a line. What JSON.parse says of the text is not repeated: it quotes it. */
function parseAll(text: string, name: string): readonly Get[] {
  if (text.trim() === "") throw new ProviderError("ETCD_DATA", `${name} is empty`);
  const documents =
    parseJson(text) ??
    text
      .split("\n")
      .filter((line) => line.trim() !== "")
      .flatMap((line) => parseJson(line) ?? [undefined]);
  return documents.map((document) => {
    const parsed = v.safeParse(getShape, document);
    if (parsed.success) return parsed.output;
    throw new ProviderError("ETCD_DATA", `${name} is not what \`etcdctl get --prefix -w json\` prints`);
  });
}

function parseJson(text: string): readonly unknown[] | undefined {
  try {
    return [JSON.parse(text) as unknown];
  } catch {
    return undefined;
  }
}

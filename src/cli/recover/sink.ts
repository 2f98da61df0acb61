/** Where recovered objects go: standard output as one stream, or a folder with a file for each. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { ProviderError } from "../../errors.ts";
import type { ObjectKey } from "../../etcd/object-key.ts";
import type { JsonObject } from "../../etcd/stored-object.ts";
import { renderJsonObject, renderYaml } from "./format.ts";
import type { RecoverOptions } from "./options.ts";
import { makeFolder } from "../../process/make-folder.ts";

/** Takes objects. */
export interface Sink {
  /** @returns why it could not be written; undefined where it was */
  write(object: ObjectKey, value: JsonObject): Promise<string | undefined>;
  /** The same, of the bytes that are stored. */
  writeRaw(object: ObjectKey, bytes: Uint8Array): Promise<string | undefined>;
  end(): Promise<void>;
}

type SinkOptions = Pick<RecoverOptions, "out" | "format" | "filter">;

/** Makes a sink. @throws ETCD_DATA where the folder cannot be made */
export async function createSink(options: SinkOptions, stdout: NodeJS.WritableStream): Promise<Sink> {
  if (options.out === undefined) return createStreamSink(options, stdout);
  try {
    await makeFolder(options.out, 0o700);
  } catch (error) {
    throw new ProviderError("ETCD_DATA", `--out ${options.out} cannot be made: ${(error as Error).message}`);
  }
  return createFolderSink(options.out, options.format);
}

/** YAML documents, or one JSON document: a List that kubectl takes, or the object itself where only one can be meant. */
function createStreamSink({ format, filter }: SinkOptions, stdout: NodeJS.WritableStream): Sink {
  const isSingle = [filter.resources, filter.namespaces, filter.names].every((list) => list.length === 1);
  const isList = format === "json" && !isSingle;
  let count = 0;
  const print = async (text: string | Uint8Array): Promise<undefined> => {
    if (!stdout.write(text)) await once(stdout, "drain");
  };
  return {
    write(_object, value) {
      count += 1;
      if (format === "yaml") return print(`---\n${renderYaml(value)}`);
      if (!isList) return print(`${renderJsonObject(value)}\n`);
      return print(`${count === 1 ? listHead : ",\n"}${renderJsonObject(value)}`);
    },
    async writeRaw(_object, bytes) {
      count += 1;
      if (count > 1) return "standard output takes the bytes of one object: give --out DIR for several";
      return print(bytes);
    },
    async end() {
      if (isList && count > 0) await print("\n]}\n");
    },
  };
}

const listHead = '{"apiVersion":"v1","kind":"List","items":[\n';

/** `RESOURCE_NAMESPACE_NAME.yaml`: no resource and no namespace has an underscore. */
function createFolderSink(folder: string, format: "yaml" | "json"): Sink {
  const create = async (name: string, content: string | Uint8Array): Promise<string | undefined> => {
    const file = path.join(folder, name);
    try {
      await writeFile(file, content, { mode: 0o600, flag: "wx" });
      return undefined;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return code === "EEXIST"
        ? `${file} is there already, and is not overwritten`
        : `${file} cannot be written (${code})`;
    }
  };
  return {
    write: (object, value) =>
      create(
        `${fileName(object)}.${format}`,
        format === "yaml" ? renderYaml(value) : `${renderJsonObject(value)}\n`,
      ),
    writeRaw: (object, bytes) => create(`${fileName(object)}.bin`, bytes),
    end: () => Promise.resolve(),
  };
}

/** File systems take 255 bytes, of which the ending has some. */
const mostNameBytes = 240;

function fileName({ resource, namespace, name }: ObjectKey): string {
  // A slash or a leading dot of a name must not lead out of the folder.
  const parts = [resource, namespace, name].map((part) => encodeURIComponent(part).replace(/^\./, "%2E"));
  const whole = parts.join("_");
  if (whole.length <= mostNameBytes) return whole;
  const digest = createHash("sha256").update(whole).digest("hex").slice(0, 16);
  return `${whole.slice(0, mostNameBytes - digest.length - 1)}-${digest}`;
}

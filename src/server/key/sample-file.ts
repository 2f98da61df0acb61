/**
 * The file of --state-dir in which samples outlive a restart: JSON with a checksum, mode 0600, written aside and renamed.
 * Read only where nobody else could have written it: a forged sample would stop Encrypt.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import * as v from "valibot";
import { maxSamples } from "./samples.ts";
import type { Sample, SampleFile } from "./samples.ts";
import { makeFolder } from "../../process/make-folder.ts";
import { replaceFile } from "../../process/replace-file.ts";

/** The file's name in --state-dir. */
export const sampleFileName = "key-samples.json";
const maxFileBytes = 1024 * 1024;

const bytes = v.pipe(
  v.string(),
  v.base64(),
  v.transform((text) => Buffer.from(text, "base64")),
);
const sample = v.object({
  protocol: v.picklist(["kmip", "rest"]),
  keyId: v.string(),
  ciphertext: bytes,
  annotations: v.record(v.string(), bytes),
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  wrappedAt: v.pipe(
    v.string(),
    v.isoTimestamp(),
    v.transform((text) => new Date(text)),
  ),
});
const content = v.object({ version: v.literal(1), checksum: v.string(), samples: v.unknown() });

/** The file in `folder`, which is made where it is missing (mode 0700). */
export function createSampleFile(folder: string): SampleFile {
  const file = path.join(folder, sampleFileName);
  return {
    path: file,
    async read(options) {
      const text = await readOwn(file, options?.isOwnerTrusted ?? false);
      return text === undefined ? [] : parse(text);
    },
    async write(samples) {
      await makeFolder(folder, 0o700);
      await replaceFile(file, render(samples), 0o600);
    },
  };
}

function render(samples: readonly Sample[]): string {
  // Without the server: the name of another server may be the same after a change of the configuration.
  const list = samples.map((one) => ({
    ...one,
    server: undefined,
    ciphertext: Buffer.from(one.ciphertext).toString("base64"),
    annotations: Object.fromEntries(
      Object.entries(one.annotations).map(([name, value]) => [name, Buffer.from(value).toString("base64")]),
    ),
  }));
  const note = "test values that deep probes wrapped; nothing in it is secret, and it may be deleted";
  return `${JSON.stringify({ version: 1, note, checksum: checksumOf(list), samples: list }, undefined, 2)}\n`;
}

/** @throws Error where it is damaged */
function parse(text: string): readonly Sample[] {
  const { checksum, samples } = v.parse(content, parseJson(text));
  if (checksum !== checksumOf(samples)) throw new Error("the file is damaged: its checksum does not match");
  return v.parse(v.pipe(v.array(sample), v.maxLength(maxSamples)), samples);
}

/** What JSON.parse says of the text is not repeated: it quotes it, and the text may be another file's. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("the file is damaged: it is not JSON");
  }
}

/** Over the list as JSON: bytes that changed on the disk must not pass for a key that changed. */
function checksumOf(samples: unknown): string {
  return createHash("sha256").update(JSON.stringify(samples)).digest("hex");
}

/** @returns undefined where there is no file. @throws Error where it is not a plain file of this user's own, or others may write to it */
async function readOwn(file: string, isOwnerTrusted: boolean): Promise<string | undefined> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const handle = await open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    },
  );
  if (handle === undefined) return undefined;
  try {
    const facts = await handle.stat();
    if (!facts.isFile() || facts.size > maxFileBytes) throw new Error("it is not a small plain file");
    const isOwn = isOwnerTrusted || facts.uid === 0 || facts.uid === process.geteuid?.();
    if (!isOwn || (facts.mode & 0o022) !== 0) throw new Error("other users own it or may write to it");
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}

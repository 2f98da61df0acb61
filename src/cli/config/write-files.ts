/**
 * Writes files into a folder that another program watches, as the kubelet watches its manifests: each is replaced
 * as a whole. One with the same content is not written again, for a static Pod restarts when its manifest changes.
 */
import { open, readFile } from "node:fs/promises";
import path from "node:path";
import type { OutputFile } from "./output.ts";
import { makeFolder } from "../../process/make-folder.ts";
import { replaceFile } from "../../process/replace-file.ts";

/** A file that is in its place. */
export interface WrittenFile {
  readonly file: string;
  /** Whether it was written; false: its content was the same. */
  readonly isChanged: boolean;
}

/** Writes the files by their names into `folder`, which is made where it is missing. @throws the file system's errors */
export async function writeFiles(folder: string, files: readonly OutputFile[]): Promise<WrittenFile[]> {
  await makeFolder(folder);
  const written: WrittenFile[] = [];
  for (const { path: place, text } of files) {
    const file = path.join(folder, path.basename(place));
    const isChanged = (await readFile(file, "utf8").catch(() => undefined)) !== text;
    if (isChanged) await replaceFile(file, text, 0o644);
    written.push({ file, isChanged });
  }
  if (written.some(({ isChanged }) => isChanged)) await syncFolder(folder);
  return written;
}

/** Makes the renames last through a crash. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

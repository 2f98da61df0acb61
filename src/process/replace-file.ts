/** Writes a file whole: who reads it, also after a power cut, finds the old content or the new, never a part. */
import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import path from "node:path";

/**
 * Writes `text` aside, under a hidden name that the kubelet, systemd and collectors pass over, then renames it.
 * @param mode of the file, before the umask
 * @throws the file system's errors; the old file is as it was then
 */
export async function replaceFile(file: string, text: string, mode: number): Promise<void> {
  const aside = path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(6).toString("hex")}`);
  try {
    const handle = await open(aside, "wx", mode);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(aside, file);
  } catch (error) {
    await rm(aside, { force: true }).catch(() => undefined);
    throw error;
  }
}

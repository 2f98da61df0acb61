/**
 * Makes a folder and those above it. Not by `mkdir` with `recursive`: Node.js 24 tries for ever where the file system
 * creates nothing and says ENOENT, as /proc does.
 */
import { mkdir, stat } from "node:fs/promises";
import path from "node:path";

/**
 * Makes what is missing of a path.
 * @param mode of each folder that it makes, before the umask. Default: 0777
 * @returns the topmost folder that it made; undefined where all were there
 * @throws the file system's errors
 */
export async function makeFolder(folder: string, mode = 0o777): Promise<string | undefined> {
  const whole = path.resolve(folder);
  try {
    return await makeOne(whole, mode);
  } catch (error) {
    if (!isMissing(error) || whole === path.dirname(whole)) throw error;
  }
  const first = await makeFolder(path.dirname(whole), mode);
  const own = await makeOne(whole, mode);
  return first ?? own;
}

async function makeOne(folder: string, mode: number): Promise<string | undefined> {
  try {
    await mkdir(folder, { mode });
    return folder;
  } catch (error) {
    if (!isMissing(error) && (await stat(folder)).isDirectory()) return undefined;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}

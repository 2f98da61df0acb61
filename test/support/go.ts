/** Programs of the tests that are written in Go: built from modules at the first use, and kept in .interop/ of the checkout. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, globSync, readFileSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const kept = path.resolve(import.meta.dirname, "../../.interop");

/** The version of Go that this machine has, as `go1.26.8`; undefined where it has none. */
export async function goVersion(): Promise<string | undefined> {
  return run("go", ["env", "GOVERSION"]).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  );
}

/**
 * Builds every command of the Go module in the folder `source`, where it was not built yet: what is kept has the hash of the
 * source in its name.
 * @returns the folder of the programs, each under the name of its command
 */
export async function buildGo(source: string): Promise<string> {
  const hash = createHash("sha256");
  for (const name of globSync("**/*.{go,mod,sum}", { cwd: source }).toSorted())
    hash.update(name).update(readFileSync(path.join(source, name)));
  const folder = path.join(kept, `${path.basename(source)}-${hash.digest("hex").slice(0, 16)}.d`);
  if (existsSync(folder)) return folder;
  const aside = `${folder}.${process.pid}`;
  await mkdir(aside, { recursive: true });
  await run("go", ["build", "-buildvcs=false", "-o", `${aside}/`, "./..."], { cwd: source });
  await rename(aside, folder).catch((error: unknown) => {
    // Another process has built the same meanwhile.
    if (!existsSync(folder)) throw error;
  });
  return folder;
}

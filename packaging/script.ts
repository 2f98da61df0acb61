/** What the scripts of the release and of the host share: their command lines, their steps, and what must be installed. */
import { accessSync, constants } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import type { ParseArgsOptionsConfig } from "node:util";

/**
 * Reads the options. `--help` prints the usage and ends the process; what is not known is told beside the usage, and ends it
 * with 2.
 */
export function readOptions<T extends ParseArgsOptionsConfig>(
  usage: string,
  options: T,
): ReturnType<typeof parseArgs<{ options: T }>>["values"] {
  if (process.argv.slice(2).includes("--help")) {
    console.log(usage);
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    misuse(usage, text.split(/\.\s/)[0] ?? text);
  }
}

/** Says what is wrong with the command line, and ends the process with 2. */
function misuse(usage: string, why: string): never {
  console.error(`${why}\n\n${usage}`);
  process.exit(2);
}

/** An option that is one of some words. Ends the process with 2 where it is another. */
export function oneOf<T extends string>(usage: string, flag: string, value: string, words: readonly T[]): T {
  const found = words.find((word) => word === value);
  return found ?? misuse(usage, `--${flag} ${value}: must be ${words.join(" or ")}`);
}

/** @throws where one of the programs is not on PATH; `packages` says how to get them */
export function needPrograms(programs: Readonly<Record<string, string>>): void {
  const folders = (process.env["PATH"] ?? "").split(path.delimiter);
  const missing = Object.entries(programs).filter(
    ([program]) => !folders.some((folder) => isExecutable(path.join(folder, program))),
  );
  if (missing.length > 0)
    throw new Error(`not on PATH: ${missing.map(([program, from]) => `${program} (${from})`).join(", ")}`);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Does a piece of work, and says how long it took. */
export function step<T>(what: string, work: () => T): T {
  const began = performance.now();
  process.stdout.write(`${what} ... `);
  const made = work();
  console.log(`${((performance.now() - began) / 1000).toFixed(1)} s`);
  return made;
}

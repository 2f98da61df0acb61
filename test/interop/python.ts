/** Python environments for tests, each with one package in it, made at the first use and kept in .venv/ of the checkout. */
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { converse, type Conversation } from "./conversation.ts";

const run = promisify(execFile);
const checkout = path.resolve(import.meta.dirname, "../..");

/** Whether this machine has a Python that can make an environment. */
export async function hasPython(): Promise<boolean> {
  return run("python3", ["-c", "import venv, ensurepip"]).then(
    () => true,
    () => false,
  );
}

function pythonOf(folder: string): string {
  return path.join(folder, "bin", "python");
}

async function works(environment: string, modules: string): Promise<boolean> {
  if (!existsSync(environment)) return false;
  return run(pythonOf(environment), ["-c", `import ${modules}`]).then(
    () => true,
    () => false,
  );
}

/**
 * The interpreter of an environment with `requirement` (`PyKMIP==0.11.0`) in it, made where there is none in which `modules` can be
 * imported. Made aside and renamed into place, so that an interrupted or a second run never meets half of one.
 */
export async function preparePython(requirement: string, modules: string): Promise<string> {
  const environment = path.join(checkout, ".venv", requirement.toLowerCase().replace("==", "-"));
  if (await works(environment, modules)) return pythonOf(environment);
  const aside = `${environment}.${process.pid}`;
  await mkdir(path.dirname(environment), { recursive: true });
  await run("python3", ["-m", "venv", aside]);
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement];
  await run(pythonOf(aside), pip);
  await rm(environment, { recursive: true, force: true });
  await rename(aside, environment);
  return pythonOf(environment);
}

/** Starts a script of this folder that talks in lines of JSON. @param name for the message where it ends too early */
export function startPython(
  python: string,
  script: string,
  args: readonly string[],
  name: string,
): Conversation {
  const file = path.join(import.meta.dirname, script);
  // A process group of its own: PyKMIP's server starts helpers, which end with it.
  const child = spawn(python, ["-W", "ignore", file, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  return converse(child, name);
}

/** The openssl command: files as operators have them, and a server. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

/** For the `skip` of a test: with CI=true a skipped test counts as a failed one. */
export const withoutOpenssl =
  spawnSync("openssl", ["version"]).status === 0 ? false : "there is no openssl on this machine";

/** Runs openssl in `folder`. @throws where it fails, with what it says */
export function openssl(folder: string, ...args: readonly string[]): void {
  execFileSync("openssl", args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
}

/** A TLS server that this project did not write: `openssl s_server` in `folder`. @returns its address */
export async function startOpensslServer(
  t: TestContext,
  folder: string,
  ...args: readonly string[]
): Promise<string> {
  const child = spawn("openssl", ["s_server", "-accept", "127.0.0.1:0", ...args], {
    cwd: folder,
    stdio: ["pipe", "pipe", "ignore"],
  });
  const ended = once(child, "close");
  t.after(async () => {
    child.kill();
    await ended;
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const address = /^ACCEPT (\S+)$/.exec(line)?.[1];
    if (address !== undefined) return address;
  }
  throw new Error("openssl s_server did not listen");
}

/** Runs a command line that a message advises, as an operator would paste it. */
export function runAdvice(command: string): void {
  execFileSync("sh", ["-euc", command], { stdio: ["ignore", "ignore", "pipe"] });
}

/** The command that a message quotes, by the word that it begins with. */
export function adviceIn(message: string, program: string): string {
  const command = new RegExp(`"(${program} [^"]+)"`).exec(message)?.[1];
  if (command === undefined) throw new Error(`no command of ${program} in: ${message}`);
  return command;
}

/** Files that the openssl command makes, as operators have them. */
import { execFileSync, spawnSync } from "node:child_process";

/** For the `skip` of a test: with CI=true a skipped test counts as a failed one. */
export const withoutOpenssl =
  spawnSync("openssl", ["version"]).status === 0 ? false : "there is no openssl on this machine";

/** Runs openssl in `folder`. @throws where it fails, with what it says */
export function openssl(folder: string, ...args: readonly string[]): void {
  execFileSync("openssl", args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
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

/**
 * `check --user`: the checks by another process that has exactly the rights of a unit with that user: its groups, and no
 * capability. So root, too, is judged as the unit runs it, who reads no file of another user. setpriv(1) of util-linux
 * makes that process, and the kernel is the judge.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { isSea } from "node:sea";
import type { Settings } from "../../config/settings.ts";
import { quote } from "../../text/quote.ts";

/** What the checks are run with. */
export interface AsUserOptions {
  readonly user: string;
  /** Those of `check`. */
  readonly settings: Settings;
  readonly env: NodeJS.ProcessEnv;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
}

/** Runs `check` as the user. @returns its exit code, or 2 where there is no such user or no way to become it */
export async function checkAsUser({ user, settings, env, stdout, stderr }: AsUserOptions): Promise<number> {
  const complain = (complaint: string): number => {
    stderr.write(`${complaint}\n`);
    return 2;
  };
  if (process.geteuid?.() !== 0) return complain("--user needs root, to become that user");
  const group = spawnSync("id", ["--group", "--", user], { encoding: "utf8" });
  if (group.status !== 0) return complain(`--user ${quote(user)}: there is no such user`);
  const child = spawn(
    "setpriv",
    [
      `--reuid=${user}`,
      `--regid=${group.stdout.trim()}`,
      "--init-groups",
      "--bounding-set=-all",
      "--inh-caps=-all",
      "--no-new-privs",
      "--",
      ...program(),
      "check",
      "--as-unit",
      ...argumentsOf(settings),
    ],
    { env, stdio: ["ignore", "pipe", "pipe"] },
  );
  child.stdout.pipe(stdout, { end: false });
  child.stderr.pipe(stderr, { end: false });
  try {
    const [code] = (await once(child, "close")) as [number | null];
    return code ?? 1;
  } catch {
    return complain("--user needs setpriv, which is part of util-linux");
  }
}

function program(): string[] {
  if (isSea()) return [process.execPath];
  return [process.execPath, ...process.execArgv, process.argv[1] ?? ""];
}

/** The flags as they were given. Variables are in the environment still. */
function argumentsOf(settings: Settings): string[] {
  return Object.entries(settings).flatMap(([name, setting]) =>
    setting?.source.startsWith("--") === true && name !== "user" && name !== "environment-file"
      ? [`--${name}=${setting.text}`]
      : [],
  );
}

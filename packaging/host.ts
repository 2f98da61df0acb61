/** What every step of the release shares: the architectures, the version, the time, running a program. */
import { execFileSync } from "node:child_process";
import type { ExecFileSyncOptionsWithStringEncoding } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";

/** The repository. */
export const root = path.dirname(import.meta.dirname);
/** The name of the program, its packages and its image. */
export const name = "okms-k8s-encryption-provider";
/** What is made for each of them. */
export const architectures = ["x64", "arm64"] as const;
/** As Node.js names it. */
export type Architecture = (typeof architectures)[number];
/** As Debian, OCI and Go name it. */
export const debianName = { x64: "amd64", arm64: "arm64" } as const satisfies Record<Architecture, string>;

interface Manifest {
  readonly version: string;
  readonly description: string;
  readonly license: string;
}

/** package.json. */
export const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as Manifest;

/** What the release is made with, each in one version. */
export interface Pins {
  readonly node: { readonly version: string; readonly integrity: Readonly<Record<Architecture, string>> };
  readonly nfpm: string;
  /** What the workflows are checked with. */
  readonly actionlint: string;
  readonly debian: { readonly suite: string; readonly packages: Readonly<Record<string, string>> };
}

/** packaging/pins.json. */
export const pins = JSON.parse(readFileSync(path.join(import.meta.dirname, "pins.json"), "utf8")) as Pins;

/** The time that every file of the release bears, in s since 1970: SOURCE_DATE_EPOCH, or that of the last commit. */
export function sourceDate(): number {
  const given = process.env["SOURCE_DATE_EPOCH"];
  if (given !== undefined && /^\d+$/.test(given)) return Number(given);
  return Number(run("git", ["log", "-1", "--format=%ct"], { cwd: root }).trim());
}

/** Runs a program; its standard error is ours. @returns its standard output. @throws where it fails */
export function run(
  command: string,
  args: readonly string[],
  options: Partial<ExecFileSyncOptionsWithStringEncoding> = {},
): string {
  return execFileSync(command, args, {
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 64 * 1024 * 1024,
    ...options,
    encoding: "utf8",
  });
}

/**
 * What a release is made from and this repository has not: Node.js for each architecture (packages of npm, held to
 * their hashes), nfpm (a Go module), and the C libraries and CA certificates of the image (packages of Debian). Each
 * is fetched once and kept in .release/: after that a release needs no network.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { debianName, pins, root, run } from "./host.ts";
import type { Architecture } from "./host.ts";

const kept = path.join(root, ".release");

/** Node.js as its package brings it: `bin/node`, `LICENSE`. @returns the folder. @throws where the hash is another */
export function nodeFolder(architecture: Architecture): string {
  const { version, integrity } = pins.node;
  const folder = path.join(kept, `node-${version}-${architecture}`);
  if (existsSync(folder)) return folder;
  const fresh = freshFolder(folder);
  const file = run("npm", ["pack", "--silent", `node-linux-${architecture}@${version}`], {
    cwd: fresh,
  }).trim();
  const bytes = readFileSync(path.join(fresh, file));
  const found = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
  if (found !== integrity[architecture])
    throw new Error(`${file} has ${found}, and packaging/pins.json wants ${integrity[architecture]}`);
  run("tar", ["-xzf", file, "--strip-components=1"], { cwd: fresh });
  rmSync(path.join(fresh, file));
  renameSync(fresh, folder);
  return folder;
}

/** The program nfpm, built by Go. @returns its path */
export function nfpm(): string {
  const folder = path.join(kept, `nfpm-${pins.nfpm}`);
  if (!existsSync(folder)) {
    const fresh = freshFolder(folder);
    const env = { ...process.env, GOBIN: fresh };
    run("go", ["install", `github.com/goreleaser/nfpm/v2/cmd/nfpm@${pins.nfpm}`], { env });
    renameSync(fresh, folder);
  }
  return path.join(folder, "nfpm");
}

/**
 * Debian's C libraries and CA certificates, unpacked. @returns the folder
 * @throws where Debian has other versions by now than packaging/pins.json: edit it, and say so in the release
 */
export function baseFolder(architecture: Architecture): string {
  const { suite, packages } = pins.debian;
  const versions = Object.entries(packages).map(([name, version]) => `${name} ${version}`);
  const hash = createHash("sha256").update(versions.join("\n")).digest("hex").slice(0, 12);
  const folder = path.join(kept, `debian-${suite}-${architecture}-${hash}`);
  if (existsSync(folder)) return folder;
  checkDebian(architecture);
  const fresh = freshFolder(folder);
  run("mmdebstrap", [
    ...debianArguments(architecture),
    "--quiet",
    // Many images of Debian leave these out, and their licences ask for them.
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    suite,
    fresh,
  ]);
  renameSync(fresh, folder);
  return folder;
}

function debianArguments(architecture: Architecture): string[] {
  const names = Object.keys(pins.debian.packages).join(",");
  return ["--variant=extract", `--architectures=${debianName[architecture]}`, `--include=${names}`];
}

function checkDebian(architecture: Architecture): void {
  const target = freshFolder(path.join(kept, "simulated"));
  const { suite, packages } = pins.debian;
  const args = [...debianArguments(architecture), "--simulate", "--verbose", suite, target];
  // What apt would install is told on the one stream or the other.
  const { stdout, stderr } = spawnSync("mmdebstrap", args, { encoding: "utf8" });
  const told = `${stdout}${stderr}`;
  rmSync(target, { recursive: true });
  const found = new Map(
    [...told.matchAll(/^Inst (\S+) \((\S+)/gm)].map(([, name = "", version = ""]) => [name, version]),
  );
  const others = Object.entries(packages).filter(([name, version]) => found.get(name) !== version);
  if (others.length > 0)
    throw new Error(
      `Debian ${suite} has ${others.map(([name]) => `${name} ${found.get(name) ?? "not"}`).join(", ")}: change packaging/pins.json`,
    );
}

function freshFolder(folder: string): string {
  const fresh = `${folder}.partial`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  writeFileSync(path.join(kept, ".gitignore"), "*\n");
  return fresh;
}

/**
 * `npm run release`: everything that is published, in dist/release/, the same bytes each time for the same commit and
 * SOURCE_DATE_EPOCH. `-- --verify` makes a copy of the repository in another folder, builds there as well, and compares.
 * `-- --architecture x64` makes less, to try something.
 */
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { emulate, makeExecutable } from "./executable.ts";
import { architectures, debianName, manifest, name, root, run, sourceDate } from "./host.ts";
import type { Architecture } from "./host.ts";
import { imageArchive } from "./image.ts";
import { makePackages } from "./packages.ts";
import { sbom } from "./sbom.ts";

const { values } = parseArgs({
  options: { verify: { type: "boolean" }, architecture: { type: "string", multiple: true } },
});
/** All of them, unless fewer are asked for, to try something. */
const wanted = architectures.filter((one) => values.architecture?.includes(one) ?? true);
const out = path.join(root, "dist/release");
const time = sourceDate();

build();
if (values.verify === true) verify();

function build(): void {
  console.log(`${name} ${manifest.version}, every file dated ${new Date(time * 1000).toISOString()}`);
  run("npm", ["run", "--silent", "build"], { cwd: root });
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const files = [npmPackage()];
  const executables = Object.fromEntries(
    wanted.map((architecture) => [architecture, executable(architecture)]),
  ) as Partial<Record<Architecture, string>>;
  for (const architecture of wanted) {
    const file = executables[architecture] ?? "";
    files.push(path.basename(file), ...makePackages({ architecture, executable: file, out, time }));
  }
  files.push(put(`${name}-${manifest.version}-oci.tar`, imageArchive(executables, time)));
  files.push(put(`${name}-${manifest.version}.cdx.json`, sbom(time)));
  files.push(put("THIRD-PARTY-LICENSES", readFileSync(path.join(root, "dist/THIRD-PARTY-LICENSES"))));
  const sums = files.toSorted().map((file) => `${sha256(path.join(out, file))}  ${file}\n`);
  put("SHA256SUMS", sums.join(""));
  for (const file of files.toSorted()) {
    const size = readFileSync(path.join(out, file)).length;
    console.log(`${(size / 1_000_000).toFixed(1).padStart(7)} MB  ${file}`);
  }
}

function put(file: string, data: string | Uint8Array): string {
  writeFileSync(path.join(out, file), data);
  return file;
}

function npmPackage(): string {
  // Without the script that builds it: it is built.
  const args = ["pack", "--silent", "--ignore-scripts", "--pack-destination", out];
  return run("npm", args, { cwd: root }).trim();
}

/** Makes the executable, and has it print its version. */
function executable(architecture: Architecture): string {
  const file = path.join(out, `${name}-${manifest.version}-linux-${debianName[architecture]}`);
  makeExecutable(architecture, file);
  const told =
    architecture === process.arch
      ? run(file, ["--version"])
      : emulate(architecture, file, ["--version"], out);
  if (told !== `${name} ${manifest.version}\n`) throw new Error(`${file} says ${told}`);
  return file;
}

function sha256(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

/** Builds what git has, in another folder with the same dependencies, and compares the sums. */
function verify(): void {
  const folder = mkdtempSync(path.join(tmpdir(), "okms-release-"));
  try {
    const copy = path.join(folder, "a-copy-in-a-folder-with-another-name");
    const files = run("git", ["ls-files", "-z"], { cwd: root });
    for (const file of files.split("\0").filter((one) => one !== ""))
      cpSync(path.join(root, file), path.join(copy, file));
    for (const shared of ["node_modules", ".release"])
      symlinkSync(path.join(root, shared), path.join(copy, shared));
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(time) };
    console.log("once more, in another folder");
    const args = wanted.map((architecture) => `--architecture=${architecture}`);
    run(process.execPath, ["packaging/main.ts", ...args], { cwd: copy, env });
    compare(path.join(copy, "dist/release/SHA256SUMS"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function compare(other: string): void {
  const lines = [path.join(out, "SHA256SUMS"), other].map((file) =>
    readFileSync(file, "utf8").trim().split("\n"),
  );
  const [ours = [], theirs = []] = lines;
  const differing = ours.filter((line) => !theirs.includes(line));
  if (differing.length > 0 || ours.length !== theirs.length)
    throw new Error(`the second build differs in\n${differing.join("\n")}`);
  console.log(`the same ${ours.length} files twice`);
}

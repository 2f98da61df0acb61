/**
 * `npm run release`: everything that is published, in dist/release/, the same bytes each time for the same commit and
 * SOURCE_DATE_EPOCH. `-- --verify` makes a copy of the repository in another folder, builds there as well, and compares.
 * `-- --architecture x64` makes less, to try something.
 */
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { emulate, emulator, makeExecutable } from "./executable.ts";
import { architectures, debianName, manifest, name, root, run, sourceDate } from "./host.ts";
import type { Architecture } from "./host.ts";
import { imageArchive } from "./image.ts";
import { makePackages } from "./packages.ts";
import { baseFolder, nfpm, nodeFolder } from "./inputs.ts";
import { needPrograms, oneOf, readOptions, step } from "./script.ts";
import { sbom } from "./sbom.ts";

const usage = `npm run release -- [--verify] [--architecture ARCHITECTURE]...

Makes everything that is published, in dist/release/ (docs/release.md).

  --verify                     build again in another folder, and compare
  --architecture ARCHITECTURE  x64 or arm64 alone, to try something (default: both)`;

const values = readOptions(usage, {
  verify: { type: "boolean" },
  architecture: { type: "string", multiple: true },
});
const asked = values.architecture?.map((one) => oneOf(usage, "architecture", one, architectures));
/** All of them, unless fewer are asked for. */
const wanted = architectures.filter((one) => asked?.includes(one) ?? true);
const out = path.join(root, "dist/release");
const began = performance.now();

try {
  needPrograms(programs());
  const time = sourceDate();
  if (values.verify === true) {
    const before = stateOfTree();
    build(time);
    if (stateOfTree() !== before)
      throw new Error("the repository was changed while it was built: begin anew");
    verify(time);
  } else build(time);
} catch (error) {
  console.error(`\nrelease: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

/** What the steps run. */
function programs(): Record<string, string> {
  const others = wanted.filter((one) => one !== process.arch);
  return {
    npm: "of any Node.js",
    git: "Debian package git",
    go: "Debian package golang-go, or Go's own",
    mmdebstrap: "Debian package mmdebstrap",
    ...Object.fromEntries(others.map((one) => [emulator(one), "Debian package qemu-user-static"])),
  };
}

/** The same text for the same files. */
function stateOfTree(): string {
  return ["rev-parse HEAD", "diff HEAD", "ls-files --others --exclude-standard"]
    .map((command) => run("git", command.split(" "), { cwd: root }))
    .join("\n");
}

function build(time: number): void {
  console.log(`${name} ${manifest.version}, every file dated ${new Date(time * 1000).toISOString()}`);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  // First, for it is here that the network may be needed.
  step("what it is made with", () => {
    nfpm();
    for (const architecture of architectures) nodeFolder(architecture);
    for (const architecture of wanted) baseFolder(architecture);
  });
  step("the program", () => run("npm", ["run", "--silent", "build"], { cwd: root }));
  const files = [npmPackage()];
  const executables = Object.fromEntries(
    wanted.map((architecture) => [
      architecture,
      step(`${architecture}: the executable`, () => executable(architecture)),
    ]),
  ) as Partial<Record<Architecture, string>>;
  for (const architecture of wanted) {
    const file = executables[architecture] ?? "";
    files.push(path.basename(file), ...makePackages({ architecture, executable: file, out, time }));
  }
  const image = `${name}-${manifest.version}-oci.tar`;
  step("the image", () => files.push(put(image, imageArchive(executables, time))));
  files.push(put(`${name}-${manifest.version}.cdx.json`, sbom(time)));
  files.push(put("THIRD-PARTY-LICENSES", readFileSync(path.join(root, "dist/THIRD-PARTY-LICENSES"))));
  const sums = files.toSorted().map((file) => `${sha256(path.join(out, file))}  ${file}\n`);
  put("SHA256SUMS", sums.join(""));
  for (const file of files.toSorted()) {
    const size = readFileSync(path.join(out, file)).length;
    const text = size < 100_000 ? `${(size / 1000).toFixed(1)} kB` : `${(size / 1_000_000).toFixed(1)} MB`;
    console.log(`${text.padStart(10)}  ${file}`);
  }
  console.log(`${files.length} files and SHA256SUMS in ${path.relative(process.cwd(), out)}, ${seconds()} s`);
}

function seconds(): number {
  return Math.round((performance.now() - began) / 1000);
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
function verify(time: number): void {
  const folder = mkdtempSync(path.join(tmpdir(), "okms-release-"));
  try {
    const copy = path.join(folder, "a-copy-in-a-folder-with-another-name");
    const files = run("git", ["ls-files", "-z"], { cwd: root });
    for (const file of files.split("\0").filter((one) => one !== ""))
      cpSync(path.join(root, file), path.join(copy, file));
    for (const shared of ["node_modules", ".release"])
      symlinkSync(path.join(root, shared), path.join(copy, shared));
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(time) };
    console.log("\nonce more, in another folder");
    const args = wanted.map((architecture) => `--architecture=${architecture}`);
    run(process.execPath, ["packaging/main.ts", ...args], { cwd: copy, env, stdio: "inherit" });
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
  console.log(`the same ${ours.length} files twice, ${seconds()} s`);
}

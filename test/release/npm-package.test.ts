/** The npm package: what is in it, and that what it declares can be used by who installs it. */
import assert from "node:assert/strict";
import { execFile, execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { startDevKms } from "../devkms/devkms.ts";
import { temporaryFolder } from "../server/harness.ts";

const root = path.resolve(import.meta.dirname, "../..");
const built = path.join(root, "dist/okms-k8s-encryption-provider.js");

interface Packed {
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

function packed(): Packed {
  const output = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const parsed = JSON.parse(output) as readonly Packed[] | Readonly<Record<string, Packed>>;
  const [one] = Object.values(parsed);
  assert.ok(one);
  return one;
}

test("it holds the program, the KMIP library with its types, their source maps, the documentation, and no more", () => {
  const files = packed().files.map((file) => file.path);
  const rest = files.filter(
    (file) =>
      !/^(?:docs\/[\w-]+\.(?:md|yaml|json)|dist\/types\/.*\.d\.ts|dist\/chunks\/[\w-]+\.cjs(?:\.map)?)$/.test(
        file,
      ),
  );
  assert.deepEqual(rest.toSorted(), [
    "LICENSE",
    "README.md",
    "dist/THIRD-PARTY-LICENSES",
    "dist/kmip.mjs",
    "dist/kmip.mjs.map",
    "dist/okms-k8s-encryption-provider.js",
    "dist/okms-k8s-encryption-provider.js.map",
    "dist/package.json",
    "package.json",
  ]);
  assert.ok(files.includes("dist/types/kmip/index.d.ts"));
  const chunks = readdirSync(path.join(root, "dist/chunks")).map((file) => `dist/chunks/${file}`);
  assert.deepEqual(files.filter((file) => file.startsWith("dist/chunks/")).toSorted(), chunks.toSorted());
});

/** A copy of what runs, without the package around it. */
function copyOfProgram(folder: string, name: string): string {
  cpSync(path.join(root, "dist/chunks"), path.join(folder, "chunks"), { recursive: true });
  const file = path.join(folder, name);
  copyFileSync(built, file);
  return file;
}

test("its program runs under a name with a dot, where the file's folder says nothing of modules", (t) => {
  const file = copyOfProgram(temporaryFolder(t), "okms-k8s-encryption-provider-0.1.0");
  const { status, stdout, stderr } = spawnSync(process.execPath, [file, "--version"], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^okms-k8s-encryption-provider \d+\.\d+\.\d+\n$/);
});

test("its program says what it lacks where its chunks were not copied", (t) => {
  const file = path.join(temporaryFolder(t), "okms-k8s-encryption-provider");
  copyFileSync(built, file);
  const { status, stderr } = spawnSync(process.execPath, [file, "--version"], { encoding: "utf8" });
  assert.equal(status, 2);
  assert.equal(stderr, `${file} needs the folder chunks beside it: copy or link all of dist\n`);
});

test("--version and --help load no more of it than they need", (t) => {
  const file = copyOfProgram(temporaryFolder(t), "program.js");
  const chunks = path.join(path.dirname(file), "chunks");
  const needed = /^(?:base|commands|rolldown-runtime)-/;
  for (const chunk of readdirSync(chunks)) if (!needed.test(chunk)) rmSync(path.join(chunks, chunk));
  const run = (flag: string): string =>
    spawnSync(process.execPath, [file, flag], { encoding: "utf8" }).stdout;
  assert.match(run("--help"), /^COMMANDS$/m);
  for (const chunk of readdirSync(chunks))
    if (chunk.startsWith("commands-")) rmSync(path.join(chunks, chunk));
  assert.match(run("--version"), /^okms-k8s-encryption-provider \d/);
});

test("its program can be read by an old Node.js as far as the check of the version", (t) => {
  const text = readFileSync(built, "utf8").replace("process.versions.node", '"18.20.8"');
  const file = path.join(temporaryFolder(t), "program");
  writeFileSync(file, text);
  const { status, stderr } = spawnSync(process.execPath, [file, "--version"], { encoding: "utf8" });
  assert.equal(status, 2);
  assert.match(stderr, /^This needs Node\.js 24 or later, and .* is v/);
});

test("its source maps lead to the sources", () => {
  const [serve = ""] = globSync("chunks/serve-*.cjs", { cwd: path.join(root, "dist") });
  for (const [file, source] of [
    [serve, "src/cli/serve/run.ts"],
    ["kmip.mjs", "src/kmip/batch.ts"],
  ] as const) {
    const map = JSON.parse(readFileSync(path.join(root, "dist", `${file}.map`), "utf8")) as {
      readonly sources: readonly string[];
      readonly sourcesContent: readonly string[];
    };
    assert.ok(map.sources.includes(path.relative(path.dirname(path.join("dist", file)), source)), file);
    assert.equal(map.sources.length, map.sourcesContent.length);
  }
});

/** A folder that has the package installed, as far as an import can tell. */
function consumer(folder: string): string {
  const modules = path.join(folder, "node_modules");
  mkdirSync(path.join(modules, "@types"), { recursive: true });
  symlinkSync(root, path.join(modules, "okms-k8s-encryption-provider"));
  symlinkSync(path.join(root, "node_modules/@types/node"), path.join(modules, "@types/node"));
  symlinkSync(path.join(root, "node_modules/undici-types"), path.join(modules, "undici-types"));
  writeFileSync(path.join(folder, "package.json"), '{ "type": "module" }');
  return folder;
}

test("its library is imported by its name, and encodes and decodes a message", (t) => {
  const folder = consumer(temporaryFolder(t));
  writeFileSync(
    path.join(folder, "use.mjs"),
    `import { Tag, ItemType, encodeItem, decodeItem } from "okms-k8s-encryption-provider/kmip";
const item = { tag: Tag.UniqueIdentifier, type: ItemType.TextString, value: "key" };
console.log(decodeItem(encodeItem(item)).value);
`,
  );
  assert.equal(execFileSync(process.execPath, ["use.mjs"], { cwd: folder, encoding: "utf8" }), "key\n");
});

/** The compiler, on one file of the folder. */
function compile(folder: string, file: string, ...more: readonly string[]): void {
  const flags = "--strict --module nodenext --target es2024 --lib es2024,esnext.disposable --types node";
  const tsc = path.join(root, "node_modules/.bin/tsc");
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...flags.split(" "), ...more, file], {
    cwd: folder,
    encoding: "utf8",
  });
  assert.equal(status, 0, stdout);
}

test("its library as docs/release.md shows it is compiled, and finds a key in a KMS", async (t) => {
  const folder = consumer(temporaryFolder(t));
  const page = readFileSync(path.join(root, "docs/release.md"), "utf8");
  writeFileSync(path.join(folder, "use.ts"), /^```ts\n([\s\S]*?)^```$/m.exec(page)?.[1] ?? "");
  compile(folder, "use.ts");
  const kms = await startDevKms({ rest: false });
  t.after(() => kms.close());
  const { id } = kms.keys.create({ name: "etcd" });
  for (const [own, file] of Object.entries(kms.clientFiles))
    copyFileSync(file, path.join(folder, `${own}.pem`));
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ["use.js", kms.kmipAddress, "etcd"], { cwd: folder });
  assert.equal(stdout, `${id}\n`);
});

test("its library's types are found, and hold", (t) => {
  const folder = consumer(temporaryFolder(t));
  writeFileSync(
    path.join(folder, "use.ts"),
    `import { type Item, type KmipClient, decodeItem } from "okms-k8s-encryption-provider/kmip";
export const item: Item = decodeItem(new Uint8Array(8));
export function close(client: KmipClient): unknown { return client.close; }
// @ts-expect-error -- there is no such name
export { noSuchName } from "okms-k8s-encryption-provider/kmip";
`,
  );
  compile(folder, "use.ts", "--noEmit");
});

/**
 * The rooms of the program, held by its imports: who may import whom, no cycle, and no runtime dependency
 * that is not on the list. Reads the files as text; type-only imports count too, for they couple as well.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import path from "node:path";
import { test } from "node:test";

const root = path.dirname(import.meta.dirname);

/**
 * Room by room, whom its files may import besides one another; arrows point downwards only. A room is a folder of
 * src/, or a file that lies in src/ itself; `gen` is what buf generates.
 */
const rooms: Readonly<Record<string, readonly string[]>> = {
  "main.ts": ["cli", "process"],
  cli: [
    "config",
    "encryptors",
    "errors.ts",
    "etcd",
    "gen",
    "kubernetes",
    "log",
    "metrics.ts",
    "net",
    "process",
    "server",
    "text",
  ],
  config: ["encryptors", "errors.ts", "log", "net", "text"],
  server: ["encryptors", "errors.ts", "gen", "log", "metrics.ts", "process", "text"],
  "metrics.ts": ["encryptors", "errors.ts", "net", "text"],
  encryptors: ["errors.ts", "kmip", "net", "rest", "text", "upstream"],
  kubernetes: ["errors.ts", "text"],
  kmip: ["errors.ts", "net", "text", "upstream"],
  rest: ["errors.ts", "net", "text", "upstream"],
  upstream: ["errors.ts", "net", "process"],
  etcd: ["errors.ts", "gen", "net", "text"],
  net: ["errors.ts", "text"],
  log: ["errors.ts", "text"],
  process: [],
  "errors.ts": [],
  text: [],
};

/** Files that only a few may import: room by room again, and the rest of a room goes through its front. */
const fronts: readonly { file: RegExp; only: RegExp }[] = [
  // The KMIP stack is a library: the encryptor uses what its index exports.
  { file: /^src\/kmip\/(?!index\.ts)/, only: /^src\/kmip\// },
  // A protocol's own encryptor is chosen in one place.
  { file: /^src\/encryptors\/(?!index\.ts|encryptor\.ts|limits\.ts)/, only: /^src\/encryptors\// },
  // The server knows the interface, and no encryptor.
  { file: /^src\/encryptors\/index\.ts/, only: /^src\/cli\// },
  // TTLV knows of KMIP the names of tags only; the specification's tables know nothing.
  { file: /^src\/kmip\/(?!ttlv\/|spec\/)/, only: /^(?!src\/kmip\/(?:ttlv|spec)\/)/ },
  { file: /^src\/kmip\/(?!spec\/)/, only: /^(?!src\/kmip\/spec\/)/ },
];

/** The one place that lists what a user's process is made of. Another one needs a reason in its commit. */
const runtimeDependencies = [
  "@bufbuild/protobuf",
  "@connectrpc/connect",
  "@connectrpc/connect-node",
  "@kubernetes/client-node",
  "@prometheus-io/client",
  "citty",
  "consola",
  "undici",
  "valibot",
  "yaml",
];

const importPattern =
  /(?:^|\n)\s*(?:import|export)\b[^"';]*?from\s*"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)|(?:^|\n)import\s*"([^"]+)"/g;

/** Specifiers that a file imports, statically or not. */
function importsOf(file: string): string[] {
  const text = readFileSync(path.join(root, file), "utf8");
  return [...text.matchAll(importPattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
}

const files = globSync("src/**/*.ts", { cwd: root }).toSorted();
const local = new Map(
  files.map((file) => [
    file,
    importsOf(file)
      .filter((specifier) => specifier.startsWith("."))
      .map((specifier) => path.posix.join(path.posix.dirname(file), specifier)),
  ]),
);

/** `src/kmip/ttlv/reader.ts` → `kmip`; `src/errors.ts` → `errors.ts`; `gen/kms/v2/api_pb.ts` → `gen`. */
function roomOf(file: string): string {
  const [top = "", room = ""] = file.split("/");
  return top === "src" ? room : top;
}

test("each file imports only from the rooms that its own may", () => {
  const breaches: string[] = [];
  for (const [file, targets] of local) {
    const room = roomOf(file);
    const allowed = rooms[room];
    assert.ok(allowed, `${file} is in no room: add it to the table`);
    for (const target of targets) {
      const isAllowed = roomOf(target) === room || allowed.includes(roomOf(target));
      const isFront = fronts.every((front) => !front.file.test(target) || front.only.test(file));
      if (target !== "package.json" && !(isAllowed && isFront)) breaches.push(`${file} imports ${target}`);
    }
  }
  assert.deepEqual(breaches, []);
});

test("the table has no arrow upwards: rooms import those below them only", () => {
  const order = Object.keys(rooms);
  for (const [room, allowed] of Object.entries(rooms))
    for (const target of allowed)
      assert.ok(
        target === "gen" || order.indexOf(target) > order.indexOf(room),
        `${room} imports ${target}, which stands above it`,
      );
});

test("every room of the table exists", () => {
  assert.deepEqual(Object.keys(rooms).toSorted(), [...new Set(files.map(roomOf))].toSorted());
});

test("no file imports itself by way of others", () => {
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): void => {
    assert.ok(!trail.includes(file), `cycle: ${[...trail, file].join(" → ")}`);
    if (done.has(file)) return;
    for (const target of local.get(file) ?? []) visit(target, [...trail, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
});

test("only the listed packages are bundled, each of an exact version, and each is used; an install brings none", () => {
  const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
    dependencies?: Record<string, string>;
    devDependencies: Record<string, string>;
  };
  assert.equal(manifest.dependencies, undefined, "all is bundled: an install brings nothing else");
  for (const [name, version] of Object.entries(manifest.devDependencies))
    assert.match(version, /^\d+\.\d+\.\d+$/, `${name} has no exact version`);
  const used = new Set<string>();
  for (const file of [...files, ...globSync("gen/**/*.ts", { cwd: root })])
    for (const specifier of importsOf(file)) {
      if (specifier.startsWith(".") || specifier.startsWith("node:")) continue;
      assert.ok(!builtinModules.includes(specifier), `${file} imports ${specifier} without node:`);
      const name = specifier
        .split("/")
        .slice(0, specifier.startsWith("@") ? 2 : 1)
        .join("/");
      assert.ok(runtimeDependencies.includes(name), `${file} imports ${name}`);
      used.add(name);
    }
  assert.deepEqual([...used].toSorted(), runtimeDependencies.toSorted(), "a listed package is not used");
});

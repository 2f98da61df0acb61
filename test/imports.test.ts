/**
 * The layers of the program, held by its imports: who may import whom, no cycle, and no runtime dependency
 * that is not on the list. Reads the files as text; type-only imports count too, for they couple as well.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import path from "node:path";
import { test } from "node:test";

const root = path.dirname(import.meta.dirname);

/** Each rule: files that match `from` may import only files that match one of `to`. The first match counts. */
const layers: readonly { from: RegExp; to: readonly RegExp[] }[] = [
  { from: /^src\/main\.ts$/, to: [/^src\/(cli\/index|early-signals|end-process)\.ts$/] },
  {
    from: /^src\/cli\//,
    to: [
      /^src\/cli\//,
      /^src\/server\//,
      /^src\/encryptors\/(index|encryptor)\.ts$/,
      /^src\/[a-z-]+\.ts$/,
      /^gen\//,
    ],
  },
  {
    from: /^src\/server\//,
    to: [
      /^src\/server\//,
      /^src\/encryptors\/encryptor\.ts$/,
      /^gen\//,
      /^src\/(log|metrics|errors|key-id-hash)\.ts$/,
    ],
  },
  {
    from: /^src\/encryptors\/encryptor\.ts$/,
    to: [/^src\/(errors|tls)\.ts$/],
  },
  {
    from: /^src\/encryptors\//,
    to: [
      /^src\/encryptors\//,
      /^src\/kmip\/index\.ts$/,
      /^src\/rest\//,
      /^src\/(tls|errors|config|uuid)\.ts$/,
    ],
  },
  { from: /^src\/kmip\/ttlv\//, to: [/^src\/kmip\/(ttlv|spec)\//, /^src\/(errors|payload)\.ts$/] },
  { from: /^src\/kmip\/spec\//, to: [/^src\/kmip\/spec\//] },
  {
    from: /^src\/kmip\/operations\//,
    to: [
      /^src\/kmip\/(ttlv|spec|operations)\//,
      /^src\/kmip\/(grammar|attributes|version)\.ts$/,
      /^src\/errors\.ts$/,
    ],
  },
  {
    from: /^src\/kmip\//,
    to: [
      /^src\/kmip\//,
      /^src\/(abort|dial-stage|dns-lookup|errors|net-errors|patience|payload|relapses|second-chances|tls)\.ts$/,
    ],
  },
  {
    from: /^src\/rest\//,
    to: [
      /^src\/rest\//,
      /^src\/(abort|dial-stage|dns-lookup|errors|net-errors|patience|payload|relapses|second-chances|tls)\.ts$/,
    ],
  },
  { from: /^src\/config\.ts$/, to: [/^src\/[a-z-]+\.ts$/, /^src\/encryptors\/encryptor\.ts$/] },
  { from: /^src\/metrics\.ts$/, to: [/^src\/[a-z-]+\.ts$/, /^src\/encryptors\/encryptor\.ts$/] },
  { from: /^src\/[a-z-]+\.ts$/, to: [/^src\/[a-z-]+\.ts$/] },
];

/** The one place that lists what a user's process is made of. Another one needs a reason in its commit. */
const runtimeDependencies = [
  "@bufbuild/protobuf",
  "@connectrpc/connect",
  "@connectrpc/connect-node",
  "citty",
  "consola",
  "prom-client",
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

test("each file imports only what its layer may", () => {
  const breaches: string[] = [];
  for (const [file, targets] of local) {
    const layer = layers.find(({ from }) => from.test(file));
    assert.ok(layer, `${file} belongs to no layer: add it to the table`);
    for (const target of targets)
      if (target !== "package.json" && !layer.to.some((pattern) => pattern.test(target)))
        breaches.push(`${file} imports ${target}`);
  }
  assert.deepEqual(breaches, []);
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

test("only the listed packages are runtime dependencies, each with an exact version, and each is used", () => {
  const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
    devDependencies: Record<string, string>;
  };
  assert.deepEqual(Object.keys(manifest.dependencies).toSorted(), runtimeDependencies.toSorted());
  for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies }))
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

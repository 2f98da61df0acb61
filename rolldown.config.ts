/**
 * `npm run build`: the program in one executable file, the KMIP stack as a library in another, each with its source map,
 * and beside them what the licences ask for. The program is CommonJS: an older Node.js can then read it and print which
 * version it needs, and any file name will do (the ECMAScript module loader refuses a name that ends in `-0.1.0`).
 */
import { chmodSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import { defineConfig } from "rolldown";
import type { OutputBundle } from "rolldown";

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
const file = "dist/okms-k8s-encryption-provider.js";

const oldestNode = 24;

/** Runs before everything else, in the syntax of any Node.js. */
const banner = `#!/usr/bin/env node
"use strict";
if (Number.parseInt(process.versions.node, 10) < ${oldestNode}) {
  process.stderr.write("This needs Node.js ${oldestNode} or later, and " + process.execPath + " is " + process.version + "\\n");
  process.exit(2);
}
// As process/early-signals.ts, and sooner: before any module of Node's is loaded.
process.on("SIGHUP", () => {});
process.on("SIGUSR1", () => {});`;

/** The comments at the beginning of a module that name whose it is. */
const notice = /^\s*((?:\/\/[^\n]*copyright[^\n]*\n(?:\/\/[^\n]*\n)*)|(?:\/\*[\s\S]*?\*\/))/i;

/** The licence of a package as it brings it: in a file or, where it brings none, at the beginning of its modules. */
function licenceOf(folder: string, modules: readonly string[]): string {
  const [licence] = globSync("[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*", { cwd: folder });
  if (licence !== undefined) return readFileSync(path.join(folder, licence), "utf8").trim();
  const notices = modules
    .map((module) => notice.exec(readFileSync(module, "utf8"))?.[1] ?? "")
    .filter((text) => /copyright/i.test(text))
    .map((text) => text.replaceAll(/^\/\/ ?/gm, "").trim());
  if (notices.length === 0) throw new Error(`${folder} is bundled, and its licence is nowhere to be found`);
  return [...new Set(notices)].join("\n\n");
}

/** A package of which something is in the bundle. */
interface Bundled {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly text: string;
}

function bundledPackages(modules: readonly string[]): Bundled[] {
  const byFolder = Map.groupBy(
    modules.filter((module) => module.includes("/node_modules/")),
    (module) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(module)?.[0] ?? "",
  );
  const packages = [...byFolder].map(([folder, own]) => {
    const manifest = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")) as Omit<
      Bundled,
      "text"
    >;
    return { ...manifest, text: licenceOf(folder, own) };
  });
  return packages.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** One section for each package of which something is in the bundle. */
function thirdParties(packages: readonly Bundled[]): string {
  const sections = packages.map(
    ({ name, version: its, license, text }) => `${name} ${its}, ${license}\n\n${text}\n`,
  );
  const head = `Parts of these packages are in ${path.basename(file)}. The Apache License 2.0 is in LICENSE.\n`;
  return [head, ...sections].join(`\n${"-".repeat(80)}\n\n`);
}

function modulesOf(bundle: OutputBundle): string[] {
  return Object.values(bundle).flatMap((each) => (each.type === "chunk" ? each.moduleIds : []));
}

/** Names are kept, for they are part of messages and of stacks. */
const shared = {
  codeSplitting: false,
  comments: false,
  minify: { compress: true, mangle: { keepNames: { function: true, class: true } }, codegen: true },
  sourcemap: true,
} as const;

/** 800 kB of classes for each kind of Kubernetes. Of KubeConfig only makeApiClient uses them, and nothing uses that. */
const withoutGeneratedApi = {
  name: "KubeConfig without the generated API",
  resolveId: (source: string, importer: string | undefined) =>
    source === "./gen/index.js" && importer?.endsWith("client-node/dist/config.js") === true
      ? "\0no generated API"
      : null,
  load: (id: string) =>
    id === "\0no generated API"
      ? "export const createConfiguration = undefined, ServerConfiguration = undefined;"
      : null,
};

export default defineConfig([
  {
    input: "src/main.ts",
    platform: "node",
    transform: { define: { "process.env.OKMS_BUILD_VERSION": JSON.stringify(version) } },
    output: { ...shared, file, format: "cjs", banner },
    plugins: [
      withoutGeneratedApi,
      {
        name: "third parties",
        generateBundle(_options, bundle) {
          const packages = bundledPackages(modulesOf(bundle));
          const list = packages.map(({ name, version: its, license }) => ({ name, version: its, license }));
          const assets = {
            "THIRD-PARTY-LICENSES": thirdParties(packages),
            // For the SBOM of a release.
            "packages.json": `${JSON.stringify(list, undefined, 2)}\n`,
            // The package says "module": in this folder a .js file is CommonJS.
            "package.json": '{ "type": "commonjs" }\n',
          };
          for (const [fileName, source] of Object.entries(assets))
            this.emitFile({ type: "asset", fileName, source });
        },
      },
      {
        name: "executable",
        writeBundle() {
          chmodSync(file, 0o755);
        },
      },
    ],
  },
  {
    input: "src/kmip/index.ts",
    platform: "node",
    output: { ...shared, file: "dist/kmip.mjs", format: "esm" },
    plugins: [
      {
        name: "nothing of others",
        generateBundle(_options, bundle) {
          const foreign = modulesOf(bundle).filter((module) => module.includes("/node_modules/"));
          if (foreign.length > 0) throw new Error(`the KMIP stack holds ${foreign.join(", ")}`);
        },
      },
    ],
  },
]);

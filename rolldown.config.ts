/**
 * `npm run build`: the program as a small executable file with chunks beside it, of which a command loads those that it
 * needs; the KMIP stack as a library; and what the licences ask for. The
 * program is CommonJS: an older Node.js can then read it and print which version it needs, and any file name will do (the
 * ECMAScript module loader refuses a name that ends in `-0.1.0`).
 */
import { chmodSync, globSync, readFileSync, realpathSync, rmSync } from "node:fs";
import path from "node:path";
import { defineConfig } from "rolldown";
import type { OutputBundle, PluginContext, PreRenderedChunk } from "rolldown";

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
process.on("SIGUSR1", () => {});
if (!require("node:sea").isSea() && !require("node:fs").existsSync(__dirname + "/chunks")) {
  process.stderr.write(__filename + " needs the folder chunks beside it: copy or link all of dist\\n");
  process.exit(2);
}
`;

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
  const head = `Parts of these packages are in ${path.basename(file)} and chunks/. The Apache License 2.0 is in LICENSE.\n`;
  return [head, ...sections].join(`\n${"-".repeat(80)}\n\n`);
}

function modulesOf(bundle: OutputBundle): string[] {
  return Object.values(bundle).flatMap((each) => (each.type === "chunk" ? each.moduleIds : []));
}

/** Names are kept, for they are part of messages and of stacks. */
const shared = {
  comments: false,
  minify: { compress: true, mangle: { keepNames: { function: true, class: true } }, codegen: true },
  sourcemap: true,
} as const;

/** A module and all that it imports statically make a chunk, but for what is in an earlier one. */
const chunkRoots = [
  // What --version needs.
  { name: "base", test: /\/src\/(?:cli\/version-answer|process\/end-process)\.ts$/ },
  // The commands' flags, and what runs one.
  { name: "commands", test: /\/src\/cli\/index\.ts$/ },
  { name: "yaml", test: /\/node_modules\/yaml\// },
  { name: "rest-client", test: /undici-client$/ },
  { name: "undici", test: /\/node_modules\/undici\// },
  { name: "metrics-library", test: /\/node_modules\/@prometheus-io\/client\// },
  { name: "serve", test: /\/src\/cli\/serve\/run\.ts$/ },
  { name: "kms", test: /\/src\/cli\/serve\/kms\.ts$/ },
];

/**
 * The chunk of a command by the command's name: the file is `src/cli/NAME/run.ts`. With a hash, so that a process whose files
 * are replaced loads nothing of another version.
 */
function chunkFileName({ name, facadeModuleId }: PreRenderedChunk): string {
  const command = /\/src\/cli\/([^/]+)\/run\.ts$/.exec(facadeModuleId ?? "")?.[1];
  return `chunks/${command ?? name}-[hash].cjs`;
}

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

/**
 * 500 kB of fetch, forms and web sockets: the REST client is undici's Client and nothing else of it, and no request of ours has
 * a form as its body, which is what the Client would need the rest for.
 */
const withoutFetch = {
  name: "undici's Client without fetch",
  resolveId(source: string, importer: string | undefined) {
    if (source === "undici" && importer?.endsWith("/src/rest/connection.ts") === true)
      return "\0undici-client";
    if (source === "undici-client-file") return realpathSync("node_modules/undici/lib/dispatcher/client.js");
    const isClients = /\/undici\/lib\/(?:core\/request|dispatcher\/client-h[12])\.js$/.test(importer ?? "");
    return isClients && source.startsWith("../web/") ? "\0no forms" : null;
  },
  load(id: string) {
    // By a name, for the source map of a release is not to hold a path of the host that it was made on.
    if (id === "\0undici-client") return 'export { default as Client } from "undici-client-file";';
    return id === "\0no forms"
      ? `export const webidl = { is: { FormData: () => false } };
         export function extractBody() { throw new Error("no form is sent as a body"); }`
      : null;
  },
};

const thirdPartyLists = {
  name: "third parties",
  generateBundle(this: PluginContext, _options: unknown, bundle: OutputBundle) {
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
  writeBundle() {
    chmodSync(file, 0o755);
  },
};

rmSync("dist/chunks", { recursive: true, force: true });

export default defineConfig([
  {
    input: "src/main.ts",
    platform: "node",
    transform: {
      define: {
        "process.env.OKMS_BUILD_VERSION": JSON.stringify(version),
        // As in Node.js itself: without undici's second HTTP/1 parser, an experiment, of 170 kB.
        esbuildDetection: "true",
      },
    },
    output: {
      ...shared,
      format: "cjs",
      // Wherever the packages lie: the second build of a release has them by a link.
      sourcemapPathTransform: (source) => source.replace(/^.*\/node_modules\//, "../../node_modules/"),
      // Not even of Node.js' own: packaging/executable.ts runs the chunks where there is no import().
      dynamicImportInCjs: false,
      dir: path.dirname(file),
      entryFileNames: path.basename(file),
      chunkFileNames: chunkFileName,
      banner: ({ isEntry }) => (isEntry ? banner : ""),
      codeSplitting: {
        groups: chunkRoots.map((root, index) => ({ ...root, priority: chunkRoots.length - index })),
      },
    },
    plugins: [withoutGeneratedApi, withoutFetch, thirdPartyLists],
  },
  {
    input: "src/kmip/index.ts",
    platform: "node",
    output: { ...shared, codeSplitting: false, file: "dist/kmip.mjs", format: "esm" },
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

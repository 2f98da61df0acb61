/**
 * `npm run build`: one executable file in dist/, runtime dependencies included, and beside it what their licences ask for.
 * It is CommonJS: an older Node.js can then read it and print which version it needs, and any file name will do (the
 * ECMAScript module loader refuses a name that ends in `-0.1.0`).
 */
import { chmodSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import { defineConfig } from "rolldown";

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
const file = "dist/okms-k8s-encryption-provider.js";

const oldestNode = 24;

/** Runs before everything else, in the syntax of any Node.js. */
const banner = `#!/usr/bin/env node
"use strict";
if (Number.parseInt(process.versions.node, 10) < ${oldestNode}) {
  process.stderr.write("This needs Node.js ${oldestNode} or later, and " + process.execPath + " is " + process.version + "\\n");
  process.exit(2);
}`;

/** The comments at the beginning of a module that name whose it is. */
const notice = /^\s*((?:\/\/[^\n]*copyright[^\n]*\n(?:\/\/[^\n]*\n)*)|(?:\/\*[\s\S]*?\*\/))/i;

/** The licence of a package as it brings it: in a file or, where it brings none, at the beginning of its modules. */
function licenceOf(folder: string, modules: readonly string[]): string {
  const [licence] = globSync("LICEN[CS]E*", { cwd: folder });
  if (licence !== undefined) return readFileSync(path.join(folder, licence), "utf8").trim();
  const notices = modules
    .map((module) => notice.exec(readFileSync(module, "utf8"))?.[1] ?? "")
    .filter((text) => /copyright/i.test(text))
    .map((text) => text.replaceAll(/^\/\/ ?/gm, "").trim());
  if (notices.length === 0) throw new Error(`${folder} is bundled, and its licence is nowhere to be found`);
  return [...new Set(notices)].join("\n\n");
}

/** One section for each package of which something is in the bundle. */
function thirdParties(modules: readonly string[]): string {
  const byFolder = Map.groupBy(
    modules.filter((module) => module.includes("/node_modules/")),
    (module) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(module)?.[0] ?? "",
  );
  const sections = [...byFolder].map(([folder, own]) => {
    const manifest = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")) as Record<
      string,
      string
    >;
    return `${manifest["name"]} ${manifest["version"]}, ${manifest["license"]}\n\n${licenceOf(folder, own)}\n`;
  });
  const head = `Parts of these packages are in ${path.basename(file)}. The Apache License 2.0 is in LICENSE.\n`;
  return [head, ...sections.toSorted()].join(`\n${"-".repeat(80)}\n\n`);
}

export default defineConfig({
  input: "src/main.ts",
  platform: "node",
  transform: { define: { "process.env.OKMS_BUILD_VERSION": JSON.stringify(version) } },
  output: {
    file,
    format: "cjs",
    codeSplitting: false,
    banner,
    comments: false,
  },
  plugins: [
    {
      name: "third parties",
      generateBundle(_options, bundle) {
        const modules = Object.values(bundle).flatMap((each) =>
          each.type === "chunk" ? each.moduleIds : [],
        );
        const source = thirdParties(modules);
        this.emitFile({ type: "asset", fileName: "THIRD-PARTY-LICENSES", source });
        // The package says "module": in this folder a .js file is CommonJS.
        this.emitFile({ type: "asset", fileName: "package.json", source: '{ "type": "commonjs" }\n' });
      },
    },
    {
      name: "executable",
      writeBundle() {
        chmodSync(file, 0o755);
      },
    },
  ],
});

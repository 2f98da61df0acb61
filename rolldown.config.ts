/** `npm run build`: one executable file in dist/, runtime dependencies included, and beside it what their licences ask for. */
import { chmodSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import { defineConfig } from "rolldown";

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
const file = "dist/okms-k8s-encryption-provider.js";

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
    format: "esm",
    codeSplitting: false,
    banner: "#!/usr/bin/env node",
    comments: false,
  },
  plugins: [
    {
      // 800 kB of classes for each kind of Kubernetes. Of KubeConfig only makeApiClient uses them, and nothing uses that.
      name: "KubeConfig without the generated API",
      resolveId: (source, importer) =>
        source === "./gen/index.js" && importer?.endsWith("client-node/dist/config.js") === true
          ? "\0no generated API"
          : null,
      load: (id) =>
        id === "\0no generated API"
          ? "export const createConfiguration = undefined, ServerConfiguration = undefined;"
          : null,
    },
    {
      name: "third parties",
      generateBundle(_options, bundle) {
        const modules = Object.values(bundle).flatMap((each) =>
          each.type === "chunk" ? each.moduleIds : [],
        );
        const source = thirdParties(modules);
        this.emitFile({ type: "asset", fileName: "THIRD-PARTY-LICENSES", source });
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

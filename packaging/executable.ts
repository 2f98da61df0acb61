/**
 * The single executable: Node.js as it was published, with the program inside (Node.js' single executable
 * applications). The options that a plugin needs are inside too, and no variable of Node.js' counts: whoever may set the
 * environment of a service is not to load code into it.
 */
import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { nodeOptions } from "../src/cli/config/output.ts";
import { root, run } from "./host.ts";
import type { Architecture } from "./host.ts";
import { baseFolder, nodeFolder } from "./inputs.ts";

/**
 * Runs before the program. NODE_OPTIONS is off by `execArgvExtension`. What else Node.js read from its environment it
 * has read by now (NODE_EXTRA_CA_CERTS, NODE_V8_COVERAGE): the process starts itself anew without it, with the same
 * process id, as systemd's socket wants it.
 */
const prelude = `"use strict";
const spare = Object.keys(process.env).filter((key) => key.startsWith("NODE_"));
if (spare.length > 0) {
  const env = { ...process.env };
  for (const key of spare) delete env[key];
  process.execve(process.execPath, [process.argv0, ...process.argv.slice(2)], env);
}
const loaded = new Map();
function load(name) {
  const known = loaded.get(name);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  loaded.set(name, module);
  const text = require("node:sea").getAsset(name, "utf8");
  const code = "(function (exports, require, module) {" + text + "\\n})";
  const { Script } = require("node:vm");
  new Script(code, { filename: name }).runInThisContext()(module.exports, requireChunk, module);
  return module.exports;
}
function requireChunk(name) {
  return name.startsWith("./") ? load(name.replace(/^.*\\//, "")) : require(name);
}
`;

/** The program's first file as the main script: what it requires of its own are assets. */
function mainScript(): string {
  const program = readFileSync(path.join(dist, "okms-k8s-encryption-provider.js"), "utf8");
  const text = program.replace(/^#!.*\n/, "").replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");
  return `${prelude}(function (require) {\n${text}\n})(requireChunk);\n`;
}

const dist = path.join(root, "dist");

/**
 * Makes the executable of an architecture in `file`, by that architecture's Node.js: on another machine under qemu-user. No
 * code cache: it would be of the whole program, and with it --version takes three times as long.
 */
export function makeExecutable(architecture: Architecture, file: string): void {
  const folder = path.dirname(file);
  const script = path.join(folder, `main-${architecture}.cjs`);
  const config = path.join(folder, `sea-${architecture}.json`);
  writeFileSync(script, mainScript());
  const node = path.join(nodeFolder(architecture), "bin/node");
  const settings = {
    main: path.basename(script),
    mainFormat: "commonjs",
    executable: node,
    output: path.basename(file),
    disableExperimentalSEAWarning: true,
    assets: Object.fromEntries(
      globSync("*.cjs", { cwd: path.join(dist, "chunks") })
        .toSorted()
        .map((name) => [name, path.join(dist, "chunks", name)]),
    ),
    execArgv: nodeOptions,
    execArgvExtension: "none",
  };
  writeFileSync(config, JSON.stringify(settings));
  const args = ["--build-sea", path.basename(config)];
  const env = withoutNode(process.env);
  if (architecture === process.arch) run(node, args, { cwd: folder, env });
  else emulate(architecture, node, args, folder);
  rmSync(script);
  rmSync(config);
}

/** The program that runs those of another architecture. */
export function emulator(architecture: Architecture): string {
  return `qemu-${{ x64: "x86_64", arm64: "aarch64" }[architecture]}-static`;
}

/** Runs a program of another architecture. */
export function emulate(
  architecture: Architecture,
  file: string,
  args: readonly string[],
  cwd: string,
): string {
  const env = { ...withoutNode(process.env), QEMU_LD_PREFIX: baseFolder(architecture) };
  return run(emulator(architecture), [file, ...args], { cwd, env });
}

/** The executable starts itself anew where one of them is set, and an emulator has no such call. */
function withoutNode(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([key]) => !key.startsWith("NODE_")));
}

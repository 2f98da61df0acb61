/**
 * The single executable: Node.js as it was published, with the program inside (Node.js' single executable
 * applications). The options that a plugin needs are inside too, and no variable of Node.js' counts: whoever may set the
 * environment of a service is not to load code into it.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
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
`;

/**
 * Makes the executable of an architecture in `file`. The code cache (half of the start-up time) is of the
 * architecture, so its own Node.js makes it: on another machine under qemu-user.
 */
export function makeExecutable(architecture: Architecture, file: string): void {
  const folder = path.dirname(file);
  const script = path.join(folder, `main-${architecture}.cjs`);
  const config = path.join(folder, `sea-${architecture}.json`);
  const program = readFileSync(path.join(root, "dist/executable.cjs"), "utf8");
  writeFileSync(
    script,
    prelude + program.replace(/^#!.*\n/, "").replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n"),
  );
  const node = path.join(nodeFolder(architecture), "bin/node");
  const settings = {
    // Relative: the code cache holds the name.
    main: path.basename(script),
    mainFormat: "commonjs",
    executable: node,
    output: path.basename(file),
    disableExperimentalSEAWarning: true,
    useCodeCache: true,
    execArgv: nodeOptions,
    execArgvExtension: "none",
  };
  writeFileSync(config, JSON.stringify(settings));
  // The seed makes the code cache the same bytes each time.
  const args = ["--random-seed=1", "--build-sea", path.basename(config)];
  const env = withoutNode(process.env);
  if (architecture === process.arch) run(node, args, { cwd: folder, env });
  else emulate(architecture, node, args, folder);
  rmSync(script);
  rmSync(config);
}

/** Runs a program of another architecture. */
export function emulate(
  architecture: Architecture,
  file: string,
  args: readonly string[],
  cwd: string,
): string {
  const machine = { x64: "x86_64", arm64: "aarch64" }[architecture];
  const env = { ...withoutNode(process.env), QEMU_LD_PREFIX: baseFolder(architecture) };
  return run(`qemu-${machine}-static`, [file, ...args], { cwd, env });
}

/** The executable starts itself anew where one of them is set, and an emulator has no such call. */
function withoutNode(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([key]) => !key.startsWith("NODE_")));
}

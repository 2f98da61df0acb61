/**
 * `npm run bench`: what README claims, measured in one run. Sections by name as arguments: codec, socket,
 * kmip, rest, process; without any, all. Figures are of this machine and this moment: read the ratios.
 */
import { availableParallelism, cpus, tmpdir } from "node:os";
import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import { benchCodec } from "./codec.ts";
import { benchKmip } from "./kmip.ts";
import { benchProcess } from "./process.ts";
import { benchRest } from "./rest.ts";
import { benchSocket } from "./socket.ts";

const sections: Readonly<Record<string, (folder: string) => Promise<void> | void>> = {
  codec: benchCodec,
  socket: benchSocket,
  kmip: benchKmip,
  rest: benchRest,
  process: benchProcess,
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in sections));
if (unknown.length > 0) {
  console.error(`Unknown section ${unknown.join(", ")}: one of ${Object.keys(sections).join(", ")}`);
  process.exit(2);
}

console.log(
  `Node ${process.version}, ${availableParallelism()} × ${cpus()[0]?.model ?? "unknown"}; the embedded KMS, ` +
    "the plugin and the caller are three processes on it.",
);
const folder = await mkdtemp(path.join(tmpdir(), "okms-bench-"));
try {
  for (const [name, section] of Object.entries(sections))
    if (asked.length === 0 || asked.includes(name)) await section(folder);
} finally {
  await rm(folder, { recursive: true });
}

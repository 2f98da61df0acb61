/**
 * `npm run bench`: what README claims, measured in one run. Sections by name as arguments: codec, socket,
 * kmip, rest, process, peer; without any, all. Figures are of this machine and this moment: read the ratios.
 * `--quick` makes peer shorter, and `--only PATTERN` chooses of its rows.
 */
import { availableParallelism, cpus, tmpdir } from "node:os";
import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { benchCodec } from "./codec.ts";
import { benchKmip } from "./kmip.ts";
import { benchPeer } from "./peer/peer.ts";
import { benchProcess } from "./process.ts";
import { benchRest } from "./rest.ts";
import { benchSocket } from "./socket.ts";

const { values, positionals: asked } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", default: "" },
  },
});
const sections: Readonly<Record<string, (folder: string) => Promise<void> | void>> = {
  codec: benchCodec,
  socket: benchSocket,
  kmip: benchKmip,
  rest: benchRest,
  process: benchProcess,
  peer: (folder) => benchPeer(folder, { quick: values.quick, only: new RegExp(values.only, "i") }),
};

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

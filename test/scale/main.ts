/**
 * `npm run scale`: three real kube-apiservers on one etcd, each with its own plugin before a KMIP server 5 ms away, and
 * many Secrets: created, every API server restarted at once, read, restarted with the DEK sources of an old cluster, the key
 * rotated, everything rewritten, the old key destroyed. `--secrets 50000`, `--servers 3`, `--at-once 16` (requests, for each
 * server), `--seeds 300` (more DEK sources), `--qps 10000` (of `reencrypt`),
 * `--kubernetes v1.37.2`, `--out FILE` for the figures as JSON, `--keep` for the logs. Exit code 1 where anything failed.
 * Needs Go the first time, as `npm run apiserver` does. Not part of `npm test`.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release, tmpdir, totalmem } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { buildBinaries } from "../apiserver/build.ts";
import { roundTripMs } from "./control-planes.ts";
import { dist } from "./plugin.ts";
import { printReport } from "./report.ts";
import { runScale } from "./run.ts";

const { values } = parseArgs({
  options: {
    secrets: { type: "string", default: "50000" },
    servers: { type: "string", default: "3" },
    "at-once": { type: "string", default: "16" },
    qps: { type: "string", default: "10000" },
    seeds: { type: "string", default: "300" },
    kubernetes: { type: "string", default: "v1.37.2" },
    out: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});

const size = {
  secrets: countOf("secrets"),
  servers: countOf("servers"),
  atOnce: countOf("at-once"),
  qps: countOf("qps"),
  // Each belongs to a Secret.
  seeds: Math.min(countOf("seeds"), countOf("secrets")),
};
const binaries = buildBinaries(values.kubernetes);
const firstLine = (program: string, ...args: readonly string[]): string =>
  execFileSync(program, args, { encoding: "utf8" }).split("\n")[0] ?? "";
const about = {
  date: new Date().toISOString(),
  machine: {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
  },
  versions: {
    plugin: firstLine(process.execPath, dist, "--version"),
    commit: firstLine("git", "describe", "--always", "--dirty"),
    node: process.version,
    kubernetes: firstLine(binaries.apiServer, "--version"),
    etcd: firstLine(binaries.etcd, "--version"),
  },
  setup: { ...size, protocol: "kmip", roundTripMs },
};
const { machine, versions } = about;
const head = [
  `# ${size.secrets} Secrets, ${size.servers} API servers (${about.date})`,
  `${machine.cores} × ${machine.cpu}, ${Math.round(machine.memoryBytes / 2 ** 30)} GiB, Linux ${machine.kernel}`,
  `${versions.plugin} (${versions.commit}), Node ${versions.node}, ${versions.kubernetes}, ${versions.etcd}; KMIP, ${roundTripMs} ms to the KMS and back`,
].join("\n");
console.log(head);

const folder = mkdtempSync(path.join(tmpdir(), "okms-scale-"));
const result = await runScale(binaries, { ...size, folder });
printReport(result);
if (values.out !== undefined)
  writeFileSync(values.out, `${JSON.stringify({ ...about, result }, undefined, 2)}\n`);
if (values.keep || result.failures.length > 0) console.log(`logs: ${folder}`);
else rmSync(folder, { recursive: true });
process.exit(result.failures.length === 0 ? 0 : 1);

/** A flag's whole number, 1 or more; anything else ends the program. */
function countOf(name: "secrets" | "servers" | "at-once" | "qps" | "seeds"): number {
  const count = Number(values[name]);
  if (Number.isSafeInteger(count) && count > 0) return count;
  console.error(`--${name} ${values[name]}: not a whole number of 1 or more`);
  process.exit(2);
}

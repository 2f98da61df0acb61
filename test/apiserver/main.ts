/**
 * `npm run apiserver`: the built plugin under a real kube-apiserver, through what an operator's year holds. Needs Go, and
 * some minutes to build the API server the first time. `--kubernetes v1.37.2`, `--protocol rest`, `--keep` for the logs,
 * `--rotation` for the last part alone.
 * A line a step, exit code 1 where one failed. Not part of `npm test`: it waits for what the API server does by the minute.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { keyIdHash } from "../../src/text/key-id-hash.ts";
import { nodeOptions } from "../../src/cli/config/output.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { startRelay } from "../devkms/relay.ts";
import { buildBinaries } from "./build.ts";
import { type Answer, ended, startCluster } from "./cluster.ts";
import { rotateToTheEnd } from "./rotation.ts";

const { values } = parseArgs({
  options: {
    kubernetes: { type: "string", default: "v1.37.2" },
    protocol: { type: "string", default: "kmip" },
    keep: { type: "boolean", default: false },
    rotation: { type: "boolean", default: false },
  },
});
const dist = path.join(import.meta.dirname, "../../dist/okms-k8s-encryption-provider.js");
const label = "etcd";

console.log(`kube-apiserver ${values.kubernetes}, ${values.protocol}`);
const binaries = buildBinaries(values.kubernetes);
const folder = mkdtempSync(path.join(tmpdir(), "okms-apiserver-"));
const kms = await startDevKms({ rest: { http2: true } });
const isRest = values.protocol === "rest";
const relay = await startRelay(isRest ? new URL(kms.restUrl).host : kms.kmipAddress);
const first = kms.keys.create({ name: label });
const sock = path.join(folder, "kms.sock");
const flags = [
  `--protocol=${values.protocol}`,
  `--serv-addr=${isRest ? "https://" : ""}${relay.address}`,
  ...(isRest ? [`--okms-id=${kms.okmsId}`] : []),
  `--encryption-key-label=${label}`,
  `--client-cert=${kms.clientFiles.cert}`,
  `--client-key=${kms.clientFiles.key}`,
  `--ca=${kms.clientFiles.ca}`,
  `--sock=${sock}`,
  // So that an outage shows within this run.
  "--status-grace=10s",
];
const encryptionConfig = path.join(folder, "encryption-configuration.yaml");
writeFileSync(
  encryptionConfig,
  execFileSync(process.execPath, [dist, "config", "encryption-configuration", ...flags]),
);
const cluster = await startCluster(binaries, folder, encryptionConfig);

let failed = 0;
/** Waits until `isTrue`, and says how long it took; a step that takes longer than it may has failed. */
async function step(
  what: string,
  withinSeconds: number,
  isTrue: () => Promise<boolean> | boolean,
): Promise<void> {
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  let ok = await isTrue();
  while (!ok && seconds() < withinSeconds) {
    await sleep(250);
    ok = await isTrue();
  }
  if (!ok) failed += 1;
  console.log(`${ok ? "✔" : "✖"} ${what} (${seconds().toFixed(1)} s)`);
}
function startPlugin(...more: readonly string[]): ChildProcess {
  const log = openSync(path.join(folder, "plugin.log"), "a");
  return spawn(process.execPath, [...nodeOptions, dist, ...flags, ...more], { stdio: ["ignore", log, log] });
}
const health = (): Promise<Answer> => cluster.request("GET", "/readyz/kms-providers");
const isHealthy = async (): Promise<boolean> => (await health()).status === 200;
const isUnwell = (pattern: RegExp) => async (): Promise<boolean> => {
  const { status, text } = await health();
  return status === 500 && pattern.test(text);
};
let written = 0;
const secrets: string[] = [];
async function writes(): Promise<boolean> {
  const secret = `secret-${(written += 1)}`;
  const { status } = await cluster.write(secret);
  if (status === 201) secrets.push(secret);
  return status === 201;
}
/** Lists every Secret, and reads back what was written in it. */
async function readsAll(): Promise<boolean> {
  const { status, text } = await cluster.request("GET", "/api/v1/secrets");
  if (status !== 200) return false;
  const { items } = JSON.parse(text) as {
    readonly items: readonly { readonly data: { readonly name: string } }[];
  };
  const read = new Set(items.map(({ data }) => Buffer.from(data.name, "base64").toString()));
  return secrets.every((secret) => read.has(secret));
}
/** kube-apiserver's own count of what it has written under a key. */
async function writtenUnder(keyId: string): Promise<number> {
  const { text } = await cluster.request("GET", "/metrics");
  const lines = text
    .split("\n")
    .filter((line) => line.startsWith("apiserver_envelope_encryption_key_id_hash_total"));
  const found = lines.find((line) => line.includes(keyIdHash(keyId)) && line.includes("to_storage"));
  return Number(found?.split(" ").at(-1) ?? 0);
}
const name = (keyId: string, labels: readonly string[]): void =>
  void kms.keys.update(keyId, { names: labels });

cluster.startApiServer();
await step("the API server starts before the plugin, and misses its socket", 30, isUnwell(/no such file/));
let plugin = startPlugin();
await step("the plugin is found", 130, isHealthy);
await step(
  "the API server is ready",
  60,
  async () => (await cluster.request("GET", "/readyz")).status === 200,
);
await step("a Secret is written", 0, writes);
await step("and stands in etcd under the provider's name", 0, async () =>
  (await cluster.stored("secret-1"))
    .subarray(0, 40)
    .equals(Buffer.from("k8s:enc:kms:v2:okms-encryption-provider:")),
);

const keys = [first];
if (!values.rotation) {
  await relay.stop();
  await step(
    "the KMS goes away: /readyz says so after the grace",
    60,
    isUnwell(/\[CONNECT\]; last good probe/),
  );
  await step("writes and reads go on meanwhile", 0, async () => (await writes()) && (await readsAll()));
  await relay.start();
  await step("it comes back: all is healthy", 30, isHealthy);

  plugin.kill("SIGKILL");
  await sleep(3000);
  await step(
    "the plugin is killed: writes and reads go on",
    0,
    async () => (await writes()) && (await readsAll()),
  );
  plugin = startPlugin();
  await step("it is started again, and found", 60, async () => (await isHealthy()) && (await writes()));

  const next = startPlugin("--replace");
  const old = plugin;
  plugin = next;
  await sleep(3000);
  await ended(old);
  await step("another takes its place: no check and no write fails", 0, async () => {
    for (let round = 0; round < 8; round += 1) {
      if (!(await isHealthy()) || !(await writes())) return false;
      await sleep(1000);
    }
    return true;
  });

  const second = kms.keys.create({ name: label });
  keys.push(second);
  name(first.id, ["retired"]);
  await step("the label moves to another key: the API server writes under it", 120, async () => {
    await writes();
    return (await writtenUnder(second.id)) > 0;
  });
  await cluster.stopApiServer();
  cluster.startApiServer();
  await step("the API server starts again, and reads what both keys have wrapped", 90, readsAll);

  name(second.id, []);
  await step(
    "the label is on no key: that is told, and the current key stays",
    60,
    isUnwell(/the current key still works/),
  );
  await step("writes and reads go on", 0, async () => (await writes()) && (await readsAll()));
  name(second.id, [label]);
  await step("the label is back: all is healthy", 60, isHealthy);

  kms.keys.update(second.id, { state: "Deactivated" });
  await step(
    "the key is deactivated: Status is an error",
    60,
    isUnwell(/rpc error: code = (FailedPrecondition|PermissionDenied)/),
  );
  await step("nothing is written under it any more within 3 minutes", 200, async () => !(await writes()));
  await step("what is cached is read", 0, readsAll);
  kms.keys.update(second.id, { state: "Active" });
  await step(
    "it is active again: all is healthy, and writes go on",
    90,
    async () => (await isHealthy()) && (await writes()),
  );
}
await rotateToTheEnd({
  step,
  cluster,
  kms,
  dist,
  flags,
  folder,
  encryptionConfig,
  writes,
  readsAll,
  moveLabel() {
    const retired = keys.map(({ id }) => id);
    keys.push(kms.keys.create({ name: label }));
    for (const id of retired) name(id, ["retired"]);
    return retired;
  },
  writesUnderNewest: async () => (await writtenUnder(keys.at(-1)?.id ?? "")) > 0,
});
await step("the plugin has not ended", 0, () => plugin.exitCode === null);
await ended(plugin);
await step("and ends with 0", 0, () => plugin.exitCode === 0);

await cluster.close();
await relay.close();
await kms.close();
if (values.keep || failed > 0) console.log(`logs: ${folder}`);
else rmSync(folder, { recursive: true });
console.log(failed === 0 ? "all well" : `${failed} steps failed`);
process.exit(failed === 0 ? 0 : 1);

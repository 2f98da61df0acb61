/**
 * `npm run host -- --only pod`: the static Pod that `config static-pod` prints, with the image of `npm run release`, under a real
 * kubelet and containerd on this machine, and a real kube-apiserver before it. Everything is in a temporary folder.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { buildBinaries, buildKubelet } from "../apiserver/build.ts";
import { type Cluster, ended, startCluster } from "../apiserver/cluster.ts";
import { createApiServer } from "../devkms/api-server.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { pauseImage } from "./pause.ts";
import type { Steps } from "./steps.ts";

const root = path.resolve(import.meta.dirname, "../..");
const program = path.join(root, "dist/okms-k8s-encryption-provider.js");

/** What the run needs, and ends. */
interface Node {
  readonly folder: string;
  readonly steps: Steps;
  readonly containerd: ChildProcess;
  readonly kubelet: ChildProcess;
  readonly cluster: Cluster;
  /** The flags of serve. */
  readonly flags: readonly string[];
  readonly sock: string;
}

/** Runs the steps. @param archive the image, as an OCI layout in a tar file */
export async function podRun(steps: Steps, archive: string, kubernetes: string): Promise<void> {
  const kubelet = buildKubelet(kubernetes);
  const binaries = buildBinaries(kubernetes);
  const folder = mkdtempSync("/var/tmp/okms-pod-");
  const kms = await startDevKms();
  kms.keys.create({ name: "etcd" });
  const tls = path.join(folder, "tls");
  mkdirSync(tls);
  for (const [name, file] of Object.entries(kms.clientFiles))
    copyFileSync(file, path.join(tls, `${name}.pem`));
  const sock = path.join(folder, "run/kms.sock");
  const flags = [
    "--protocol=kmip",
    `--serv-addr=${kms.kmipAddress}`,
    "--encryption-key-label=etcd",
    `--client-cert=${tls}/cert.pem`,
    `--client-key=${tls}/key.pem`,
    `--ca=${tls}/ca.pem`,
    `--sock=${sock}`,
  ];
  const containerd = startContainerd(folder);
  importImages(folder, archive);
  const encryption = path.join(folder, "encryption-configuration.yaml");
  writeFileSync(encryption, config(["encryption-configuration", `--sock=${sock}`]));
  const node: Node = {
    folder,
    steps,
    containerd,
    kubelet: startKubelet(kubelet, folder),
    cluster: await startCluster(binaries, path.join(folder, "cluster"), encryption),
    flags,
    sock,
  };
  try {
    await walk(node);
  } catch (error) {
    steps.fail(String(error));
  } finally {
    await close(node);
    await kms.close();
  }
}

const name = "okms-k8s-encryption-provider";

async function walk(node: Node): Promise<void> {
  const { steps, cluster, folder, sock } = node;
  writeManifest(node, []);
  await steps.until("the kubelet runs the Pod, and it answers", 60, () => answers(sock));
  cluster.startApiServer();
  await steps.until(
    "kube-apiserver is ready",
    90,
    async () => (await cluster.request("GET", "/readyz")).status === 200,
  );
  await cluster.write("first");
  const prefix = "k8s:enc:kms:v2:okms-encryption-provider:";
  const stored = await cluster.stored("first");
  steps.check(`a Secret is in etcd as ${prefix}`, stored.subarray(0, prefix.length).toString() === prefix);
  const container = containerOf(node, name);
  const user = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${container}/status`, "utf8"))?.[1];
  const capabilities = /^CapEff:\s+(\w+)/m.exec(readFileSync(`/proc/${container}/status`, "utf8"))?.[1];
  steps.check(
    `it runs as uid ${user}, with the capabilities ${capabilities}`,
    user === "0" && /^0+$/.test(capabilities ?? ""),
  );
  const inside = `/proc/${container}/root`;
  steps.check(
    "there is no shell in it",
    !existsSync(`${inside}/bin/sh`) && !existsSync(`${inside}/usr/bin/sh`),
  );

  const before = containerOf(node, name);
  writeManifest(node, []);
  await sleep(3000);
  steps.check("the same manifest written again does not restart it", containerOf(node, name) === before);

  process.kill(Number(before), "SIGKILL");
  await steps.until("killed, it is started again", 60, () => answers(sock));

  let [calls, failures] = [0, 0];
  const over = new AbortController();
  const load = (async () => {
    while (!over.signal.aborted) {
      calls += 1;
      if (!(await answers(sock))) failures += 1;
      await sleep(20);
    }
  })();
  const next = `${name}-b`;
  writeManifest(node, [`--instance=${next}`, "--replace", "--http-addr=127.0.0.1:8089"]);
  await steps.until("a second Pod with --replace is there", 60, () => containerOf(node, next) !== "");
  await sleep(5000);
  rmSync(path.join(folder, "manifests", `${name}.yaml`));
  await steps.until("the first one is gone", 60, () => containerOf(node, name) === "");
  over.abort();
  await load;
  steps.check(`an upgrade by a second Pod: ${calls} calls, ${failures} failed`, failures === 0 && calls > 50);
  await steps.until(
    "kube-apiserver is content",
    60,
    async () => (await cluster.request("GET", "/readyz/kms-providers")).status === 200,
  );
}

async function answers(sock: string): Promise<boolean> {
  const api = createApiServer(sock);
  try {
    return (await api.status()).healthz === "ok";
  } catch {
    return false;
  } finally {
    api.close();
  }
}

function config(args: readonly string[]): string {
  return execFileSync(process.execPath, [program, "config", ...args], { encoding: "utf8" });
}

function writeManifest({ flags, folder }: Node, more: readonly string[]): void {
  const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
    version: string;
  };
  config([
    "static-pod",
    ...flags,
    `--image=localhost/${name}:${version}`,
    ...more,
    `--out=${folder}/manifests`,
  ]);
}

/** Process id of a Pod's program; empty where there is none. */
function containerOf({ folder }: Node, instance: string): string {
  const listed = ctr(folder, "tasks", "list").matchAll(/^(\w+)\s+(\d+)\s+RUNNING/gm);
  for (const [, id = "", pid = ""] of listed) {
    const labels = ctr(folder, "containers", "info", id);
    if (
      labels.includes(`"io.kubernetes.pod.name": "${instance}-host"`) &&
      labels.includes('"io.kubernetes.container.name"')
    )
      return pid;
  }
  return "";
}

function ctr(folder: string, ...args: readonly string[]): string {
  const address = ["--address", path.join(folder, "containerd.sock"), "--namespace", "k8s.io"];
  return spawnSync("ctr", [...address, ...args], { encoding: "utf8" }).stdout;
}

function startContainerd(folder: string): ChildProcess {
  const file = path.join(folder, "containerd.toml");
  writeFileSync(
    file,
    `version = 2
root = "${folder}/containerd-root"
state = "${folder}/containerd-state"
[grpc]
  address = "${folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`,
  );
  return logged("containerd", ["--config", file], folder);
}

function importImages(folder: string, archive: string): void {
  const pause = path.join(folder, "pause.tar");
  writeFileSync(pause, pauseImage(folder));
  for (let tries = 0; tries < 100 && !existsSync(path.join(folder, "containerd.sock")); tries += 1)
    spawnSync("sleep", ["0.1"]);
  const address = ["--address", path.join(folder, "containerd.sock"), "--namespace", "k8s.io"];
  for (const file of [pause, archive])
    execFileSync("ctr", [...address, "images", "import", file], { stdio: ["ignore", "ignore", "inherit"] });
}

function startKubelet(kubelet: string, folder: string): ChildProcess {
  for (const own of ["manifests", "cluster", "run"]) mkdirSync(path.join(folder, own), { recursive: true });
  const file = path.join(folder, "kubelet.yaml");
  writeFileSync(
    file,
    `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: ${folder}/manifests
fileCheckFrequency: 1s
containerRuntimeEndpoint: unix://${folder}/containerd.sock
address: 127.0.0.1
port: 0
healthzPort: 0
readOnlyPort: 0
authentication: { anonymous: { enabled: true }, webhook: { enabled: false } }
authorization: { mode: AlwaysAllow }
failCgroupV1: false
cgroupDriver: cgroupfs
enforceNodeAllocatable: []
oomScoreAdj: 0
makeIPTablesUtilChains: false
failSwapOn: false
podLogsDir: ${folder}/logs
`,
  );
  const flags = [
    `--config=${file}`,
    `--root-dir=${folder}/kubelet`,
    `--cert-dir=${folder}/kubelet-certs`,
    "--hostname-override=host",
  ];
  return logged(kubelet, flags, folder);
}

function logged(file: string, args: readonly string[], folder: string): ChildProcess {
  const log = openSync(path.join(folder, `${path.basename(file)}.log`), "a");
  return spawn(file, args, { stdio: ["ignore", log, log] });
}

async function close({ cluster, kubelet, containerd, folder }: Node): Promise<void> {
  await cluster.close();
  await ended(kubelet);
  for (const [, id = ""] of ctr(folder, "tasks", "list").matchAll(/^(\w{20,})/gm)) {
    ctr(folder, "tasks", "kill", "--signal", "SIGKILL", id);
    ctr(folder, "tasks", "delete", "--force", id);
  }
  await ended(containerd);
  for (const [, mounted = ""] of readFileSync("/proc/mounts", "utf8").matchAll(/^\S+ (\S+)/gm))
    if (mounted.startsWith(`${folder}/`)) spawnSync("umount", ["--lazy", mounted]);
  rmSync(folder, { recursive: true, force: true });
  for (const group of globSync("/sys/fs/cgroup/*/kubepods/**/").toSorted((a, b) => b.length - a.length)) {
    try {
      rmdirSync(group);
    } catch {
      // Still in use, or gone already.
    }
  }
}

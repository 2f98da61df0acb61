/**
 * A real kube-apiserver, kube-controller-manager and etcd, built by Go from the modules of their names: some minutes the first time, then
 * kept in .apiserver/. The module's own `replace` lines lead into its repository's staging folders, which modules have
 * not: they are put to the versions that were published with it.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const kept = path.join(import.meta.dirname, "../../.apiserver");
const etcdVersion = "v3.6.5";

/** Paths of the programs. */
export interface Binaries {
  readonly apiServer: string;
  readonly controllerManager: string;
  readonly etcd: string;
}

/**
 * Builds what is not there yet.
 * @param version of Kubernetes, as `v1.37.2`
 */
export function buildBinaries(version: string): Binaries {
  const [apiServer = "", controllerManager = ""] = ["kube-apiserver", "kube-controller-manager"].map(
    (name) => {
      const file = path.join(kept, `${name}-${version}`);
      if (!existsSync(file)) buildKubernetes(version, name, file);
      return file;
    },
  );
  return { apiServer, controllerManager, etcd: buildEtcd() };
}

/** Builds etcd where it is not there yet. @returns its path */
export function buildEtcd(): string {
  const etcd = path.join(kept, `etcd-${etcdVersion}`);
  if (!existsSync(etcd)) {
    const folder = newModule("etcd");
    go(folder, "get", `go.etcd.io/etcd/server/v3@${etcdVersion}`);
    go(folder, "build", "-o", etcd, "go.etcd.io/etcd/server/v3");
  }
  return etcd;
}

/** @param name of the command, as `kube-apiserver` */
function buildKubernetes(version: string, name: string, file: string): void {
  const [, major = "", minor = "", patch = ""] = /^v(1)\.(\d+)\.(\d+)$/.exec(version) ?? [];
  if (minor === "") throw new Error(`${version} is no version as v1.37.2`);
  const folder = newModule(name);
  const told = JSON.parse(go(folder, "mod", "download", "-json", `k8s.io/kubernetes@${version}`)) as {
    readonly GoMod: string;
  };
  const theirs = readFileSync(told.GoMod, "utf8");
  const ours = theirs
    .replace(/^module .*$/m, "module local")
    .replaceAll(/=> \.\/staging\/src\/(k8s\.io\/\S+)/g, `=> $1 v0.${minor}.${patch}`);
  writeFileSync(path.join(folder, "go.mod"), ours);
  go(folder, "mod", "edit", "-require", `k8s.io/kubernetes@${version}`);
  const facts = { gitVersion: version, gitMajor: major, gitMinor: minor, gitTreeState: "clean" };
  const flags = Object.entries(facts).map(
    ([fact, value]) => `-X k8s.io/component-base/version.${fact}=${value}`,
  );
  go(folder, "build", "-ldflags", ["-s -w", ...flags].join(" "), "-o", file, `k8s.io/kubernetes/cmd/${name}`);
}

function newModule(name: string): string {
  const folder = path.join(kept, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "go.mod"), "module local\n");
  return folder;
}

function go(cwd: string, ...args: readonly string[]): string {
  const env = { ...process.env, GOFLAGS: "-mod=mod", GOTOOLCHAIN: "local" };
  return execFileSync("go", args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

/** Builds the kubelet where it is not there yet. @returns its path */
export function buildKubelet(version: string): string {
  const file = path.join(kept, `kubelet-${version}`);
  if (!existsSync(file)) buildKubernetes(version, "kubelet", file);
  return file;
}

/** Several kube-apiservers on one etcd, each with a plugin of its own before one KMS, 5 ms away. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Binaries } from "../apiserver/build.ts";
import { type Database, startDatabase } from "../apiserver/cluster.ts";
import {
  type Accounts,
  type ApiServer,
  createApiServer,
  ended,
  kubeconfigOf,
  users,
  writeAccounts,
} from "../apiserver/server.ts";
import { type Kms, kmipFlags, startKms } from "../bench/processes.ts";
import { dist, type Plugin, startPlugin } from "./plugin.ts";
import type { Look } from "./work.ts";

/** To the KMS and back, in ms. */
export const roundTripMs = 5;
const readyWithinMs = 180_000;
const lookMs = 50;

/** One host of the control plane. */
export interface ControlPlane {
  /** As `server 1`. */
  readonly name: string;
  readonly api: ApiServer;
  readonly plugin: Plugin;
  readonly encryptionConfig: string;
  /** A kubeconfig for a user who may do everything, and is limited as any other. */
  readonly kubeconfig: string;
}

/** See the file's head. */
export interface ControlPlanes {
  readonly all: readonly ControlPlane[];
  readonly kms: Kms;
  readonly etcd: Database;
  /** One look at each plugin. */
  look(): Promise<Look[]>;
  close(): Promise<void>;
}

/** What is started, for an orderly end whatever has failed. */
type Closers = (() => Promise<unknown>)[];

/** Starts all of them, and waits until each is ready. `onFailure` is told what ends by itself. */
export async function startControlPlanes(
  binaries: Binaries,
  { servers, folder }: { readonly servers: number; readonly folder: string },
  onFailure: (what: string) => void,
): Promise<ControlPlanes> {
  const closers: Closers = [];
  const close = async (): Promise<void> => {
    for (const one of closers.splice(0).toReversed()) await one();
  };
  try {
    const kms = await startKms([roundTripMs]);
    closers.push(() => kms.stop());
    const etcd = await startDatabase(binaries.etcd, folder);
    closers.push(() => ended(etcd.child));
    const shared = { kms, etcd, program: binaries.apiServer, accounts: writeAccounts(folder) };
    const all: ControlPlane[] = [];
    for (let number = 1; number <= servers; number += 1) {
      const own = path.join(folder, `server-${number}`);
      mkdirSync(own);
      all.push(await startOne(shared, `server ${number}`, own, closers, onFailure));
    }
    for (const { api } of all) api.start();
    await Promise.all(all.map(({ api }) => untilReady(api)));
    await letOrdinaryUserIn(all);
    return { all, kms, etcd, look: () => Promise.all(all.map(({ plugin }) => plugin.look())), close };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Shared {
  readonly kms: Kms;
  readonly etcd: Database;
  readonly program: string;
  readonly accounts: Accounts;
}

/** The plugin is started, the API server is not. */
async function startOne(
  { kms, etcd, program, accounts }: Shared,
  name: string,
  folder: string,
  closers: Closers,
  onFailure: (what: string) => void,
): Promise<ControlPlane> {
  const sock = path.join(folder, "kms.sock");
  const flags = kmipFlags(kms, roundTripMs);
  const encryptionConfig = path.join(folder, "encryption-configuration.yaml");
  writeFileSync(
    encryptionConfig,
    execFileSync(process.execPath, [dist, "config", "encryption-configuration", ...flags, "--sock", sock]),
  );
  const plugin = await startPlugin(sock, flags, folder, (how) => onFailure(`${name}: ${how}`));
  closers.push(async () => {
    const code = await plugin.end();
    if (code !== 0) onFailure(`${name}: the plugin ended with ${String(code)}`);
  });
  const api = await createApiServer({ program, folder, etcdUrl: etcd.url, accounts, encryptionConfig });
  closers.push(() => api.close());
  const kubeconfig = path.join(folder, "ordinary.kubeconfig");
  writeFileSync(kubeconfig, kubeconfigOf(api.url, users.ordinary), { mode: 0o600 });
  return { name, api, plugin, encryptionConfig, kubeconfig };
}

/** Waits until /readyz says so. @returns seconds. @throws Error where the server has ended, or takes too long */
export async function untilReady(api: ApiServer): Promise<number> {
  const began = performance.now();
  for (;;) {
    const { status, text } = await api.request("GET", "/readyz");
    const tookMs = performance.now() - began;
    if (status === 200) return tookMs / 1000;
    if (api.child()?.exitCode !== null) throw new Error("kube-apiserver has ended by itself");
    if (tookMs > readyWithinMs) throw new Error(`kube-apiserver is not ready: ${text}`);
    await sleep(lookMs);
  }
}

/** Gives the ordinary user the role cluster-admin, and waits until each server knows it and the namespace is there. */
async function letOrdinaryUserIn(all: readonly ControlPlane[]): Promise<void> {
  const group = "rbac.authorization.k8s.io";
  const { status, text } = (await all[0]?.api.request("POST", `/apis/${group}/v1/clusterrolebindings`, {
    apiVersion: `${group}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name: users.ordinary },
    roleRef: { apiGroup: group, kind: "ClusterRole", name: "cluster-admin" },
    subjects: [{ apiGroup: group, kind: "User", name: users.ordinary }],
  })) ?? { status: 0, text: "no server" };
  if (status !== 201) throw new Error(`cannot bind a role: ${text}`);
  await Promise.all(all.map(untilAllowed));
}

async function untilAllowed({ api }: ControlPlane): Promise<void> {
  const review = {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SubjectAccessReview",
    spec: {
      user: users.ordinary,
      resourceAttributes: { namespace: "default", verb: "create", resource: "secrets" },
    },
  };
  for (const until = performance.now() + readyWithinMs; performance.now() < until; await sleep(lookMs)) {
    const { text } = await api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review);
    const { status } = await api.request("GET", "/api/v1/namespaces/default");
    if (status === 200 && /"allowed":\s*true/.test(text)) return;
  }
  throw new Error("the ordinary user has no rights");
}

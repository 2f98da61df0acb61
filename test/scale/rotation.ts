/** The key is rotated by its label, everything is rewritten with `reencrypt`, and `audit` is asked about the old key. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeOptions } from "../../src/cli/config/output.ts";
import { knowsKey } from "./api-metrics.ts";
import type { ControlPlane, ControlPlanes } from "./control-planes.ts";
import { dist } from "./plugin.ts";
import type { Outcome } from "./requests.ts";

const pluginsWithinMs = 60_000;
const serversWithinMs = 180_000;
const lookMs = 1000;

/** Until everybody uses the next key, in seconds after the label has moved. */
export interface Rotation {
  readonly oldKeyId: string;
  readonly newKeyId: string;
  readonly pluginsSeconds: number;
  readonly serversSeconds: number;
}

/** Moves the label, and waits for all plugins and all API servers. @throws Error where that takes too long */
export async function rotate({ all, kms }: ControlPlanes): Promise<Rotation> {
  const [oldKeyId = ""] = await keyIds(all);
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  await kms.tell("rotate");
  let newKeyId = oldKeyId;
  await until("the plugins do not use the next key", pluginsWithinMs, async () => {
    const ids = await keyIds(all);
    [newKeyId = oldKeyId] = ids;
    return ids.every((id) => id === newKeyId && id !== oldKeyId);
  });
  const pluginsSeconds = seconds();
  await until("the API servers do not know the next key", serversWithinMs, async () => {
    const known = await Promise.all(all.map(({ api }) => knowsKey(api, newKeyId)));
    return known.every(Boolean);
  });
  return { oldKeyId, newKeyId, pluginsSeconds, serversSeconds: seconds() };
}

const keyIds = (all: readonly ControlPlane[]): Promise<string[]> =>
  Promise.all(all.map(async ({ plugin }) => (await plugin.caller.status()).keyId));

async function until(what: string, withinMs: number, isTrue: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + withinMs; performance.now() < end; await sleep(lookMs))
    if (await isTrue()) return;
  throw new Error(`${what} after ${withinMs / 1000} s`);
}

/** What `reencrypt` did. */
export interface Rewriting {
  /** Its count is of what it has written. */
  readonly outcome: Outcome;
  /** Whether it ended with 0. */
  readonly isWhole: boolean;
}

/** Rewrites all Secrets by PATCHes through the first server, as an ordinary user. Its progress goes to standard error. */
export async function rewriteAll({ all }: ControlPlanes, qps: number): Promise<Rewriting> {
  const { kubeconfig, encryptionConfig } = all[0] ?? { kubeconfig: "", encryptionConfig: "" };
  const args = ["--kubeconfig", kubeconfig, "--encryption-config", encryptionConfig];
  const began = performance.now();
  const { code, stdout } = await runProgram(["reencrypt", ...args, "--method=patch", `--qps=${qps}`]);
  const seconds = (performance.now() - began) / 1000;
  // REWRITTEN, CURRENT, CHANGED, GONE, FAILED
  const row = /^secrets +patched +(.*)$/m.exec(stdout)?.[1]?.split(/\s+/) ?? [];
  const [count = 0, , , , failed = 0] = row.map((text) => Number(text.replaceAll(",", "")));
  const times = { p50: Number.NaN, p99: Number.NaN };
  const outcome = { count, seconds, perSecond: count / seconds, ...times, limited: undefined, failed };
  return { outcome, isWhole: code === 0 };
}

/** What `audit` says of etcd. */
export interface Audited {
  readonly seconds: number;
  readonly exitCode: number | null;
  readonly secrets: number;
  /** By it: Decrypt calls of each kube-apiserver at its next cold start. */
  readonly coldStartDecrypts: number;
  /** Whether the key that was asked about may be destroyed: `yes`, `no`, and others of docs/destroy-key.md. */
  readonly answer: string | undefined;
}

/** Audits etcd. @param keyId of a key that may be no longer needed */
export async function audit({ all, etcd }: ControlPlanes, keyId?: string): Promise<Audited> {
  const config = all[0]?.encryptionConfig ?? "";
  const args = ["--json", "--endpoints", etcd.url, "--encryption-config", config];
  const asked = keyId === undefined ? [] : ["--key-id", keyId];
  const began = performance.now();
  const { code, stdout } = await runProgram(["audit", ...args, ...asked]);
  const seconds = (performance.now() - began) / 1000;
  const { sources, keys } = JSON.parse(stdout) as AuditDocument;
  const [source] = sources;
  const groups = source?.current.groups.filter(({ resource }) => resource === "secrets") ?? [];
  return {
    seconds,
    exitCode: code,
    secrets: groups.reduce((sum, { objects }) => sum + objects, 0),
    coldStartDecrypts: source?.coldStartDecrypts ?? Number.NaN,
    answer: keys?.[0]?.answer,
  };
}

interface AuditDocument {
  readonly sources: readonly {
    readonly current: { readonly groups: readonly { readonly resource: string; readonly objects: number }[] };
    readonly coldStartDecrypts: number;
  }[];
  readonly keys?: readonly { readonly answer: string }[];
}

/** Runs the built program to its end; its standard error is this process's. */
async function runProgram(args: readonly string[]): Promise<{ code: number | null; stdout: string }> {
  const child = spawn(process.execPath, [...nodeOptions, dist, ...args], {
    env: { PATH: process.env["PATH"] },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  await once(child, "close");
  return { code: child.exitCode, stdout };
}

/**
 * A rotation to its end, on a real kube-apiserver: 2,000 Secrets, another key, `reencrypt` under the rights that it prints,
 * killed half-way and resumed, `audit`; one more, done by kube-controller-manager; the old keys destroyed, a cold start; then
 * a backup, everything stopped, `recover`.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseAllDocuments } from "yaml";
import { nodeOptions } from "../../src/cli/config/output.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { type Cluster, ended } from "./cluster.ts";

const count = 2000;
const account = "/api/v1/namespaces/kube-system/serviceaccounts";

/** What the scenario works with. */
export interface RotationContext {
  readonly step: (
    what: string,
    withinSeconds: number,
    isTrue: () => Promise<boolean> | boolean,
  ) => Promise<void>;
  readonly cluster: Cluster;
  readonly kms: DevKms;
  /** The built program. */
  readonly dist: string;
  /** The flags of serve. */
  readonly flags: readonly string[];
  readonly folder: string;
  readonly encryptionConfig: string;
  /** Writes a Secret. */
  readonly writes: () => Promise<boolean>;
  /** Whether every Secret is read back as it was written. */
  readonly readsAll: () => Promise<boolean>;
  /** Creates a key, and gives it the label in place of the one that has it. @returns the identifiers of all older ones */
  readonly moveLabel: () => readonly string[];
  /** Whether the API server has written under the newest key. */
  readonly writesUnderNewest: () => Promise<boolean>;
}

/** Runs it; at its end the API server and etcd are stopped. */
export async function rotateToTheEnd(context: RotationContext): Promise<void> {
  const { step, cluster, folder, encryptionConfig, writes, readsAll } = context;
  const program = new Program(context.dist);
  const etcd = [`--endpoints=${cluster.etcdUrl}`];
  const config = `--encryption-config=${encryptionConfig}`;
  await step(`${count} Secrets are written`, 0, () => times(count, writes));
  const old = context.moveLabel();
  await step("another key has the label: the API server writes under it", 120, async () => {
    await writes();
    return context.writesUnderNewest();
  });
  await step("audit: the old keys are still needed", 0, async () => {
    const ran = await program.run(["audit", ...etcd, config, ...old.map((id) => `--key-id=${id}`)]);
    return ran.code === 1 && (await program.run(["audit", ...etcd, config])).code === 1;
  });

  const kubeconfig = path.join(folder, "reencrypt.kubeconfig");
  const state = path.join(folder, "reencrypt.json");
  const rewrite = ["reencrypt", `--kubeconfig=${kubeconfig}`, config, `--state=${state}`];
  await step("reencrypt names the rights that its account lacks", 0, async () => {
    await createAccount(cluster, kubeconfig);
    const { code, stderr } = await program.run([...rewrite, "--method=patch"]);
    return code === 1 && stderr.startsWith("missing rights: list secrets, patch secrets\n");
  });
  await step("--print-rbac prints a role that has them", 30, async () => {
    await applyRbac(cluster, (await program.run(["reencrypt", "--print-rbac", config])).stdout);
    return (await program.run([...rewrite, "--dry-run"])).code === 0;
  });
  // Not before 1.35.
  const hasMigrations = await servesMigrations(cluster);
  await step(
    hasMigrations
      ? "reencrypt finds no controller for a StorageVersionMigration, patches, and is killed half-way"
      : "reencrypt patches, and is killed half-way",
    120,
    async () => {
      const running = program.start([...rewrite, "--qps=150"]);
      while (rewrittenIn(state) < count / 2 && running.exitCode === null) await sleep(100);
      running.kill("SIGKILL");
      await once(running, "exit");
      return running.signalCode === "SIGKILL" && hasMigrations === /no controller acts/.test(program.stderr);
    },
  );
  await step(
    "audit: not all is rewritten",
    0,
    async () => (await program.run(["audit", ...etcd, config])).code === 1,
  );
  await step("reencrypt goes on where it was, and ends with a clean audit", 120, async () => {
    const before = rewrittenIn(state);
    const { code, stdout, stderr } = await program.run([...rewrite, "--method=patch", "--qps=500", ...etcd]);
    const [, , rewritten = "0"] = /^secrets .*$/m.exec(stdout)?.[0].split(/\s+/) ?? [];
    const isResumed =
      stderr.includes("going on with the run of") && Number(rewritten.replace(",", "")) > before;
    return code === 0 && isResumed && stdout.includes("Nothing is under an old key any more.");
  });
  await step("audit: all is as it should be, and the old keys may be destroyed", 0, async () => {
    if ((await program.run(["audit", ...etcd, config])).code !== 0) return false;
    return (await program.run(["audit", ...etcd, ...old.map((id) => `--key-id=${id}`)])).code === 0;
  });
  const older = hasMigrations ? await migrateToAnother(context, program, rewrite) : old;
  for (const id of older) context.kms.keys.update(id, { state: "Destroyed" });
  await cluster.stopApiServer();
  cluster.startApiServer();
  await step("they are destroyed: the API server starts again, and reads every Secret", 90, readsAll);
  await recoverBackup(context, program);
}

async function servesMigrations(cluster: Cluster): Promise<boolean> {
  const replies = ["v1", "v1beta1"].map((version) =>
    cluster.request("GET", `/apis/storagemigration.k8s.io/${version}`),
  );
  return (await Promise.all(replies)).some(({ status }) => status === 200);
}

/** Rotates once more, this time with a controller that does the work. @returns the identifiers of all older keys */
async function migrateToAnother(
  { step, cluster, ...context }: RotationContext,
  program: Program,
  rewrite: readonly string[],
): Promise<readonly string[]> {
  const old = context.moveLabel();
  const controllers = cluster.startControllerManager();
  await step("the label moves again: the API server writes under the next key", 120, async () => {
    await context.writes();
    return context.writesUnderNewest();
  });
  await step(
    "reencrypt has kube-controller-manager do the work, and ends with a clean audit",
    0,
    async () => {
      const args = [...rewrite, "--method=migration", `--endpoints=${cluster.etcdUrl}`];
      const { code, stdout } = await program.run(args);
      return (
        code === 0 && /^secrets +migrated /m.test(stdout) && stdout.includes("Nothing is under an old key")
      );
    },
  );
  await ended(controllers);
  await step("audit: the older keys may be destroyed", 0, async () => {
    const keys = old.map((id) => `--key-id=${id}`);
    return (await program.run(["audit", `--endpoints=${cluster.etcdUrl}`, ...keys])).code === 0;
  });
  return old;
}

async function recoverBackup(
  { step, cluster, flags, folder }: RotationContext,
  program: Program,
): Promise<void> {
  const snapshot = path.join(folder, "backup.db");
  const { text } = await cluster.request("GET", "/api/v1/secrets");
  writeFileSync(snapshot, await cluster.snapshot());
  await cluster.close();
  await step("audit --verify: the backup is good", 0, async () => {
    const { code } = await program.run(["audit", "--verify", `--snapshot=${snapshot}`, ...kmsFlags(flags)]);
    return code === 0;
  });
  await step("all is stopped: recover gives from the backup what the API server had", 0, async () => {
    const args = [
      "recover",
      `--snapshot=${snapshot}`,
      "--resource=secrets",
      "--output=json",
      ...kmsFlags(flags),
    ];
    const { code, stdout } = await program.run(args);
    if (code !== 0) return false;
    assert.deepEqual(dataByName(stdout), dataByName(text));
    return true;
  });
}

/** Those of serve that lead to the KMS. */
function kmsFlags(flags: readonly string[]): string[] {
  return flags.filter((flag) => !/^--(sock|status-grace)=/.test(flag));
}

function dataByName(list: string): Map<string, unknown> {
  const { items } = JSON.parse(list) as {
    readonly items: readonly { readonly metadata: { readonly name: string }; readonly data: unknown }[];
  };
  return new Map(items.map(({ metadata, data }) => [metadata.name, data] as const).toSorted());
}

/** Runs the built program, and keeps what the last run has written. */
class Program {
  readonly #dist: string;
  stdout = "";
  stderr = "";

  constructor(dist: string) {
    this.#dist = dist;
  }

  start(args: readonly string[]): ChildProcess {
    this.stdout = "";
    this.stderr = "";
    const child = spawn(process.execPath, [...nodeOptions, this.#dist, ...args], {
      env: { PATH: process.env["PATH"] },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    return child;
  }

  async run(args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const child = this.start(args);
    await once(child, "close");
    return { code: child.exitCode, stdout: this.stdout, stderr: this.stderr };
  }
}

/** Secrets that the state counts as rewritten. */
function rewrittenIn(state: string): number {
  try {
    const { resources } = JSON.parse(readFileSync(state, "utf8")) as {
      readonly resources: { readonly secrets?: { readonly tally: { readonly rewritten: number } } };
    };
    return resources.secrets?.tally.rewritten ?? 0;
  } catch {
    return 0;
  }
}

/** Does `work` so many times, 16 at once. @returns whether it was well each time */
async function times(total: number, work: () => Promise<boolean>): Promise<boolean> {
  let begun = 0;
  let hasPassed = true;
  const worker = async (): Promise<void> => {
    while (begun < total) {
      begun += 1;
      hasPassed = (await work()) && hasPassed;
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  return hasPassed;
}

/** A service account of kube-system, and a kubeconfig with its token in a file of its own. */
async function createAccount(cluster: Cluster, kubeconfig: string): Promise<void> {
  await cluster.request("POST", account, {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name: "okms-reencrypt" },
  });
  const { text } = await cluster.request("POST", `${account}/okms-reencrypt/token`, {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    spec: {},
  });
  const { status } = JSON.parse(text) as { readonly status: { readonly token: string } };
  writeFileSync(`${kubeconfig}.token`, `${status.token}\n`, { mode: 0o600 });
  const config = JSON.parse(readFileSync(cluster.kubeconfig, "utf8")) as object;
  const users = [{ name: "admin", user: { tokenFile: `${path.basename(kubeconfig)}.token` } }];
  writeFileSync(kubeconfig, JSON.stringify({ ...config, users }), { mode: 0o600 });
}

/** Creates the role and the binding; the account is there. */
async function applyRbac(cluster: Cluster, yaml: string): Promise<void> {
  for (const document of parseAllDocuments(yaml)) {
    const object = document.toJS() as { readonly kind: string };
    if (object.kind === "ServiceAccount") continue;
    const where = `/apis/rbac.authorization.k8s.io/v1/${object.kind.toLowerCase()}s`;
    await cluster.request("POST", where, object);
  }
}

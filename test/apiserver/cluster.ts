/** One etcd and one kube-apiserver on the loopback interface, and what an operator asks of them. */
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { openSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { Agent, fetch } from "undici";
import type { Binaries } from "./build.ts";

/** An answer of kube-apiserver; status 0 where there was none. */
export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** See above. */
export interface Cluster {
  /** The file of a kubeconfig for its administrator; its certificate authority is there once the API server has started. */
  readonly kubeconfig: string;
  /** etcd's client URL. */
  readonly etcdUrl: string;
  startApiServer(): void;
  /** Ends it with SIGTERM, and waits. */
  stopApiServer(): Promise<void>;
  /** Starts kube-controller-manager with the controller of StorageVersionMigrations. */
  startControllerManager(): ChildProcess;
  request(method: string, path: string, body?: object): Promise<Answer>;
  /** Writes a Secret. */
  write(name: string): Promise<Answer>;
  /** What etcd holds of a Secret. */
  stored(name: string): Promise<Buffer>;
  /** What `etcdctl snapshot save` writes. */
  snapshot(): Promise<Buffer>;
  close(): Promise<void>;
}

const secrets = "/api/v1/namespaces/default/secrets";

/** Starts etcd; the API server is for the caller to start. `folder` gets logs and data. */
export async function startCluster(
  { apiServer, controllerManager, etcd }: Binaries,
  folder: string,
  encryptionConfig: string,
): Promise<Cluster> {
  const [clients, peers, secure] = [await freePort(), await freePort(), await freePort()];
  const etcdUrl = `http://127.0.0.1:${clients}`;
  const peerUrl = `http://127.0.0.1:${peers}`;
  const file = (name: string): string => path.join(folder, name);
  const { privateKey, publicKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  writeFileSync(file("sa.key"), privateKey, { mode: 0o600 });
  writeFileSync(file("sa.pub"), publicKey);
  writeFileSync(file("tokens.csv"), 'local,admin,1,"system:masters"\n', { mode: 0o600 });

  writeFileSync(file("kubeconfig"), kubeconfigOf(secure), { mode: 0o600 });

  const run = (program: string, log: string, flags: Readonly<Record<string, string>>): ChildProcess => {
    const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
    const output = openSync(file(log), "a");
    return spawn(program, args, { stdio: ["ignore", output, output], cwd: folder });
  };
  const database = run(etcd, "etcd.log", {
    "data-dir": file("etcd"),
    "listen-client-urls": etcdUrl,
    "advertise-client-urls": etcdUrl,
    "listen-peer-urls": peerUrl,
    "initial-advertise-peer-urls": peerUrl,
    "initial-cluster": `default=${peerUrl}`,
    "unsafe-no-fsync": "true",
  });
  const server = {
    "etcd-servers": etcdUrl,
    "bind-address": "127.0.0.1",
    "advertise-address": "127.0.0.1",
    "secure-port": String(secure),
    "cert-dir": file("certs"),
    "service-account-issuer": "https://kubernetes.default",
    "service-account-key-file": file("sa.pub"),
    "service-account-signing-key-file": file("sa.key"),
    "token-auth-file": file("tokens.csv"),
    "service-cluster-ip-range": "10.0.0.0/24",
    "endpoint-reconciler-type": "none",
    "authorization-mode": "RBAC",
    "encryption-provider-config": encryptionConfig,
    "encryption-provider-config-automatic-reload": "true",
  };
  // Its certificate is one that it has made for itself.
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  let api: ChildProcess | undefined;

  const request: Cluster["request"] = async (method, where, body) => {
    try {
      const reply = await fetch(`https://127.0.0.1:${secure}${where}`, {
        method,
        dispatcher,
        headers: { authorization: "Bearer local", "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(15_000),
      });
      return { status: reply.status, text: await reply.text() };
    } catch (error) {
      return { status: 0, text: String(error) };
    }
  };
  const stopApiServer = async (): Promise<void> => {
    await ended(api);
    api = undefined;
  };
  return {
    kubeconfig: file("kubeconfig"),
    etcdUrl,
    startApiServer() {
      api = run(apiServer, "kube-apiserver.log", server);
    },
    startControllerManager: () =>
      run(controllerManager, "kube-controller-manager.log", {
        kubeconfig: file("kubeconfig"),
        controllers: "garbage-collector-controller,storage-version-migrator-controller",
        "leader-elect": "false",
        "secure-port": "0",
      }),
    stopApiServer,
    request,
    write: (name) =>
      request("POST", secrets, {
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name },
        stringData: { name },
      }),
    async stored(name) {
      const key = Buffer.from(`/registry/secrets/default/${name}`).toString("base64");
      const reply = await fetch(`${etcdUrl}/v3/kv/range`, { method: "POST", body: JSON.stringify({ key }) });
      const { kvs } = (await reply.json()) as { readonly kvs: readonly { readonly value: string }[] };
      return Buffer.from(kvs[0]?.value ?? "", "base64");
    },
    async snapshot() {
      const reply = await fetch(`${etcdUrl}/v3/maintenance/snapshot`, { method: "POST", body: "{}" });
      const messages = (await reply.text()).split("\n").filter((line) => line !== "");
      return Buffer.concat(messages.map(blobOf));
    },
    async close() {
      await stopApiServer();
      await ended(database);
      if (!dispatcher.closed) await dispatcher.close();
    },
  };
}

/** Of a message of etcd's snapshot stream, as its JSON gateway has it. */
function blobOf(message: string): Buffer {
  const { result } = JSON.parse(message) as { readonly result: { readonly blob?: string } };
  return Buffer.from(result.blob ?? "", "base64");
}

function kubeconfigOf(port: number): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "local",
    clusters: [
      {
        name: "local",
        cluster: { server: `https://127.0.0.1:${port}`, "certificate-authority": "certs/apiserver.crt" },
      },
    ],
    users: [{ name: "admin", user: { token: "local" } }],
    contexts: [{ name: "local", context: { cluster: "local", user: "admin" } }],
  });
}

/** Ends a process with SIGTERM, and waits. */
export async function ended(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  await exit;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}

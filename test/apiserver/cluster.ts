/** One etcd and one kube-apiserver on the loopback interface, and what an operator asks of them. */
import type { ChildProcess } from "node:child_process";
import path from "node:path";
import { fetch } from "undici";
import type { Binaries } from "./build.ts";
import { type ApiServer, createApiServer, ended, freePort, run, writeAccounts } from "./server.ts";

export { type Answer, ended } from "./server.ts";

/** See above. */
export interface Cluster extends Pick<ApiServer, "kubeconfig" | "request"> {
  /** etcd's client URL. */
  readonly etcdUrl: string;
  startApiServer(): void;
  /** Ends it with SIGTERM, and waits. */
  stopApiServer(): Promise<void>;
  /** Starts kube-controller-manager with the controller of StorageVersionMigrations. */
  startControllerManager(): ChildProcess;
  /** Writes a Secret. */
  write(name: string): ReturnType<ApiServer["request"]>;
  /** What etcd holds of a Secret. */
  stored(name: string): Promise<Buffer>;
  /** What `etcdctl snapshot save` writes. */
  snapshot(): Promise<Buffer>;
  close(): Promise<void>;
}

const secrets = "/api/v1/namespaces/default/secrets";

/** Starts etcd; the API server is for the caller to start. `folder` gets logs and data. */
export async function startCluster(
  { apiServer: program, controllerManager, etcd }: Binaries,
  folder: string,
  encryptionConfig: string,
): Promise<Cluster> {
  const database = await startDatabase(etcd, folder);
  const { url: etcdUrl } = database;
  const accounts = writeAccounts(folder);
  const api = await createApiServer({ program, folder, etcdUrl, accounts, encryptionConfig });
  const { request } = api;
  return {
    kubeconfig: api.kubeconfig,
    etcdUrl,
    startApiServer: () => api.start(),
    startControllerManager: () =>
      run(controllerManager, folder, "kube-controller-manager.log", {
        kubeconfig: api.kubeconfig,
        controllers: "garbage-collector-controller,storage-version-migrator-controller",
        "leader-elect": "false",
        "secure-port": "0",
      }),
    stopApiServer: () => api.stop(),
    request,
    write: (name) =>
      request("POST", secrets, {
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name },
        stringData: { name },
      }),
    stored: (name) => database.get(`/registry/secrets/default/${name}`),
    async snapshot() {
      const reply = await fetch(`${etcdUrl}/v3/maintenance/snapshot`, { method: "POST", body: "{}" });
      const messages = (await reply.text()).split("\n").filter((line) => line !== "");
      return Buffer.concat(messages.map(blobOf));
    },
    async close() {
      await api.close();
      await ended(database.child);
    },
  };
}

/** An etcd of one member. */
export interface Database {
  readonly child: ChildProcess;
  /** Its client URL. */
  readonly url: string;
  /** Empty where there is no such key. */
  get(key: string): Promise<Buffer>;
  put(key: string, value: Uint8Array): Promise<void>;
}

/** Starts etcd with its data and log in `folder`. It does not sync its files: nothing here survives the machine. */
export async function startDatabase(program: string, folder: string): Promise<Database> {
  const [clients, peers] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${clients}`;
  const peerUrl = `http://127.0.0.1:${peers}`;
  const child = run(program, folder, "etcd.log", {
    "data-dir": path.join(folder, "etcd"),
    "listen-client-urls": url,
    "advertise-client-urls": url,
    "listen-peer-urls": peerUrl,
    "initial-advertise-peer-urls": peerUrl,
    "initial-cluster": `default=${peerUrl}`,
    "unsafe-no-fsync": "true",
  });
  const ask = async (what: string, body: object): Promise<unknown> => {
    const reply = await fetch(`${url}/v3/kv/${what}`, { method: "POST", body: JSON.stringify(body) });
    if (!reply.ok) throw new Error(`etcd: ${await reply.text()}`);
    return reply.json();
  };
  return {
    child,
    url,
    async get(key) {
      const { kvs } = (await ask("range", { key: base64(key) })) as {
        readonly kvs?: readonly { readonly value: string }[];
      };
      return Buffer.from(kvs?.[0]?.value ?? "", "base64");
    },
    put: async (key, value) => void (await ask("put", { key: base64(key), value: base64(value) })),
  };
}

function base64(value: string | Uint8Array): string {
  return Buffer.from(value).toString("base64");
}

/** Of a message of etcd's snapshot stream, as its JSON gateway has it. */
function blobOf(message: string): Buffer {
  const { result } = JSON.parse(message) as { readonly result: { readonly blob?: string } };
  return Buffer.from(result.blob ?? "", "base64");
}

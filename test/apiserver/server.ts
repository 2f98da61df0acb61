/** One kube-apiserver as a process on the loopback interface, before an etcd that others may share. */
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { openSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { Agent, fetch } from "undici";

/** An answer of kube-apiserver; status 0 where there was none. */
export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** The users of its token file, each with its token of the same name. */
export const users = {
  /** In system:masters: API Priority and Fairness does not limit it. */
  administrator: "local",
  /** Without a right, and limited as any client is. */
  ordinary: "ordinary",
} as const;

/** How an {@link ApiServer} is made. */
export interface ApiServerOptions {
  /** kube-apiserver. */
  readonly program: string;
  /** Gets its log, its kubeconfig and the certificate that it makes for itself. */
  readonly folder: string;
  readonly etcdUrl: string;
  /** What {@link writeAccounts} gave: the same for all servers of a cluster. */
  readonly accounts: Accounts;
  /** Path of an EncryptionConfiguration. */
  readonly encryptionConfig: string;
}

/** See above. */
export interface ApiServer {
  /** As `https://127.0.0.1:6443`. */
  readonly url: string;
  /** The file of a kubeconfig for its administrator; its certificate authority is there once the server has started. */
  readonly kubeconfig: string;
  /** The process; undefined while it is stopped. */
  child(): ChildProcess | undefined;
  start(): void;
  /** Ends it with SIGTERM, and waits. */
  stop(): Promise<void>;
  /** Asks as its administrator. */
  request(method: string, path: string, body?: object): Promise<Answer>;
  close(): Promise<void>;
}

/** Paths of what the API servers of a cluster share. */
export interface Accounts {
  readonly privateKey: string;
  readonly publicKey: string;
  readonly tokens: string;
}

/** Writes the keys of service accounts and the file of {@link users}. */
export function writeAccounts(folder: string): Accounts {
  const file = (name: string): string => path.join(folder, name);
  const accounts = {
    privateKey: file("sa.key"),
    publicKey: file("sa.pub"),
    tokens: file("tokens.csv"),
  };
  const { privateKey, publicKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  writeFileSync(accounts.privateKey, privateKey, { mode: 0o600 });
  writeFileSync(accounts.publicKey, publicKey);
  const { administrator, ordinary } = users;
  const lines = [`${administrator},admin,1,"system:masters"`, `${ordinary},ordinary,2`];
  writeFileSync(accounts.tokens, `${lines.join("\n")}\n`, { mode: 0o600 });
  return accounts;
}

/** Makes one, which is for the caller to start. */
export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { program, folder, accounts } = options;
  const port = await freePort();
  const url = `https://127.0.0.1:${port}`;
  const kubeconfig = path.join(folder, "kubeconfig");
  writeFileSync(kubeconfig, kubeconfigOf(url, users.administrator), { mode: 0o600 });
  const flags = {
    "etcd-servers": options.etcdUrl,
    "bind-address": "127.0.0.1",
    "advertise-address": "127.0.0.1",
    "secure-port": String(port),
    "cert-dir": path.join(folder, "certs"),
    "service-account-issuer": "https://kubernetes.default",
    "service-account-key-file": accounts.publicKey,
    "service-account-signing-key-file": accounts.privateKey,
    "token-auth-file": accounts.tokens,
    "service-cluster-ip-range": "10.0.0.0/24",
    "endpoint-reconciler-type": "none",
    "authorization-mode": "RBAC",
    "encryption-provider-config": options.encryptionConfig,
    "encryption-provider-config-automatic-reload": "true",
  };
  // Its certificate is one that it has made for itself.
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  let child: ChildProcess | undefined;
  const stop = async (): Promise<void> => {
    await ended(child);
    child = undefined;
  };
  return {
    url,
    kubeconfig,
    child: () => child,
    start() {
      child = run(program, folder, "kube-apiserver.log", flags);
    },
    stop,
    async request(method, where, body) {
      try {
        const reply = await fetch(`${url}${where}`, {
          method,
          dispatcher,
          headers: { authorization: `Bearer ${users.administrator}`, "content-type": "application/json" },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          signal: AbortSignal.timeout(15_000),
        });
        return { status: reply.status, text: await reply.text() };
      } catch (error) {
        return { status: 0, text: String(error) };
      }
    },
    async close() {
      await stop();
      if (!dispatcher.closed) await dispatcher.close();
    },
  };
}

/** A kubeconfig with a token, for a file in the folder of its API server. */
export function kubeconfigOf(url: string, token: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "local",
    clusters: [{ name: "local", cluster: { server: url, "certificate-authority": "certs/apiserver.crt" } }],
    users: [{ name: "admin", user: { token } }],
    contexts: [{ name: "local", context: { cluster: "local", user: "admin" } }],
  });
}

/** Starts a program with flags in a folder; what it writes is appended to `log` there. */
export function run(
  program: string,
  folder: string,
  log: string,
  flags: Readonly<Record<string, string>>,
): ChildProcess {
  const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  const output = openSync(path.join(folder, log), "a");
  return spawn(program, args, { stdio: ["ignore", output, output], cwd: folder });
}

/** Ends a process with SIGTERM, and waits. */
export async function ended(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  await exit;
}

/** A port of the loopback interface that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/**
 * A real etcd for tests: Debian's package, unpacked into the checkout, or one that Go builds. Members with TLS and client
 * certificates, on free ports of loopback, in a temporary folder. Writes go through etcd's own JSON gateway.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { Agent, fetch } from "undici";
import { buildEtcd } from "../apiserver/build.ts";
import {
  type Authority,
  type CertificateFiles,
  createAuthority,
  writeCertificateFiles,
  writeClientFiles,
} from "../devkms/certificates.ts";

const run = promisify(execFile);
const kept = path.join(import.meta.dirname, "../../.apiserver");

/**
 * The program: what `npm run apiserver` has built, one on the PATH, Debian's package, or built by Go; the first that is
 * available. @returns undefined where none is
 */
export async function findEtcd(): Promise<string | undefined> {
  const [built] = globSync(path.join(kept, "etcd-v3.*"));
  if (built !== undefined) return built;
  const onPath = await run("sh", ["-c", "command -v etcd"]).catch(() => undefined);
  if (onPath !== undefined) return onPath.stdout.trim();
  return (await fromDebian()) ?? fromGo();
}

/** Unpacked aside and renamed into place, so that an interrupted or a second run never meets half of one. */
async function fromDebian(): Promise<string | undefined> {
  const folder = path.join(kept, "etcd-debian");
  const file = path.join(folder, "usr/bin/etcd");
  if (existsSync(file)) return file;
  const aside = `${folder}.${process.pid}`;
  await mkdir(aside, { recursive: true });
  try {
    const download = (): Promise<unknown> =>
      run("apt-get", ["download", "-qq", "etcd-server"], { cwd: aside });
    await download().catch(async () => {
      await run("apt-get", ["update", "-qq"]);
      await download();
    });
    const [archive = ""] = globSync("*.deb", { cwd: aside });
    await run("dpkg-deb", ["-x", archive, "."], { cwd: aside });
    await rename(aside, folder).catch(() => undefined);
    return existsSync(file) ? file : undefined;
  } catch {
    return undefined;
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

async function fromGo(): Promise<string | undefined> {
  const hasGo = await run("go", ["version"]).then(
    () => true,
    () => false,
  );
  return hasGo ? buildEtcd() : undefined;
}

/** One member. */
export interface Member {
  readonly url: string;
  /** Its database, which is whole when it has ended by SIGTERM. */
  readonly database: string;
  /** Ends it and waits. By default at once, as a host that loses its power. */
  kill(signal?: NodeJS.Signals): Promise<void>;
}

/** A cluster that serves. */
export interface EtcdCluster {
  readonly members: readonly Member[];
  readonly endpoints: readonly string[];
  /** Of a client that the members accept, and their CA. */
  readonly files: CertificateFiles;
  /** Writes pairs, 100 in a transaction. */
  put(pairs: readonly (readonly [key: string, value: Uint8Array | string])[]): Promise<void>;
  remove(key: string): Promise<void>;
  /** Compacts at the newest revision. */
  compact(): Promise<void>;
  /** The member that leads now. */
  leader(): Promise<Member>;
  close(): Promise<void>;
}

/** Starts a cluster and waits until it serves. @param authority of all certificates; default: one of its own */
export async function startEtcd(program: string, size: 1 | 3, authority?: Authority): Promise<EtcdCluster> {
  const folder = await mkdtemp(path.join(tmpdir(), "okms-etcd-"));
  const issuer = authority ?? (await createAuthority());
  const issued = await issuer.issue({
    commonName: "etcd",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1"],
    server: true,
    client: true,
  });
  const server = await writeCertificateFiles(path.join(folder, "server"), issued, issuer.caPem);
  const files = await writeClientFiles(path.join(folder, "client"), issuer);
  const ports = await freePorts(size * 2);
  const members = Array.from({ length: size }, (_none, index) => ({
    name: `m${index}`,
    url: `https://127.0.0.1:${ports[index * 2]}`,
    peer: `http://127.0.0.1:${ports[index * 2 + 1]}`,
  }));
  const initial = members.map(({ name, peer }) => `${name}=${peer}`).join(",");
  const started = members.map(({ name, url, peer }) => {
    const flags = {
      name,
      "data-dir": path.join(folder, name),
      "listen-client-urls": url,
      "advertise-client-urls": url,
      "listen-peer-urls": peer,
      "initial-advertise-peer-urls": peer,
      "initial-cluster": initial,
      "cert-file": server.cert,
      "key-file": server.key,
      "trusted-ca-file": server.ca,
      "client-cert-auth": "true",
      "log-level": "error",
      "heartbeat-interval": "50",
      "election-timeout": "500",
    };
    return startMember(program, url, flags);
  });
  const gateway = new Gateway(started, files);
  const cluster: EtcdCluster = {
    members: started,
    endpoints: members.map(({ url }) => url),
    files,
    put: (pairs) => gateway.put(pairs),
    remove: async (key) => void (await gateway.post("kv/deleterange", { key: base64(key) })),
    compact: () => gateway.compact(),
    leader: () => gateway.leader(),
    async close() {
      await Promise.all(started.map((member) => member.kill()));
      await gateway.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    await gateway.untilServing();
    return cluster;
  } catch (error) {
    await cluster.close();
    throw error;
  }
}

interface StartedMember extends Member {
  isRunning(): boolean;
}

function startMember(program: string, url: string, flags: Readonly<Record<string, string>>): StartedMember {
  const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  const child: ChildProcess = spawn(program, args, { stdio: ["ignore", "ignore", "ignore"] });
  const ended = once(child, "close");
  return {
    url,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    database: path.join(flags["data-dir"] ?? "", "member/snap/db"),
    async kill(signal = "SIGKILL") {
      child.kill(signal);
      await ended;
    },
  };
}

/** All at once, so that none is given twice. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}

function base64(text: string | Uint8Array): string {
  return Buffer.from(text).toString("base64");
}

const startTimeoutMs = 30_000;

/** etcd's JSON over HTTP. */
class Gateway {
  readonly #members: readonly StartedMember[];
  readonly #agent: Agent;

  constructor(members: readonly StartedMember[], { cert, key, ca }: CertificateFiles) {
    this.#members = members;
    const [own, secret, roots] = [cert, key, ca].map((file) => readFileSync(file));
    this.#agent = new Agent({ connect: { cert: own, key: secret, ca: roots } });
  }

  async post(
    call: string,
    body: object,
    to = this.#members.find((member) => member.isRunning()),
  ): Promise<unknown> {
    const reply = await fetch(`${to?.url}/v3/${call}`, {
      method: "POST",
      body: JSON.stringify(body),
      dispatcher: this.#agent,
    });
    if (!reply.ok) throw new Error(`etcd's ${call}: ${reply.status} ${await reply.text()}`);
    return reply.json();
  }

  async put(pairs: readonly (readonly [string, Uint8Array | string])[]): Promise<void> {
    const most = 100;
    for (let from = 0; from < pairs.length; from += most) {
      const success = pairs
        .slice(from, from + most)
        .map(([key, value]) => ({ request_put: { key: base64(key), value: base64(value) } }));
      await this.post("kv/txn", { success });
    }
  }

  async compact(): Promise<void> {
    const { header } = (await this.post("kv/range", { key: base64("x") })) as {
      header: { revision: string };
    };
    await this.post("kv/compaction", { revision: header.revision, physical: true });
  }

  async leader(): Promise<Member> {
    for (const member of this.#members) {
      const status = (await this.post("maintenance/status", {}, member)) as {
        header: { member_id: string };
        leader: string;
      };
      if (status.leader === status.header.member_id) return member;
    }
    throw new Error("no member leads");
  }

  /** Every member answers, and a leader is elected. */
  async untilServing(): Promise<void> {
    const until = performance.now() + startTimeoutMs;
    for (const member of this.#members)
      for (;;) {
        const answer = await this.post("kv/range", { key: base64("x") }, member).catch(
          (error: unknown) => error,
        );
        if (!(answer instanceof Error)) break;
        if (performance.now() > until || !member.isRunning()) throw answer;
        await sleep(50);
      }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

/**
 * The figures of audit and recover at 100,000 objects: `node test/etcd/measure.ts [N [FILE]]`; FILE keeps the snapshot. Fills a real etcd with Secrets as
 * kube-apiserver stores them under KMS v2 (20 DEK sources, one revision of each rewritten), takes a snapshot where
 * etcdctl can be had, and runs the built program on both.
 */
import { parseKmipAddress } from "../../src/net/address.ts";
import { createCipheriv, createHmac, randomBytes } from "node:crypto";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { SecretSchema } from "../../gen/k8s/v1/core_pb.ts";
import { EncryptedObjectSchema, UnknownSchema } from "../../gen/k8s/v1/storage_pb.ts";
import { createEncryptor } from "../../src/encryptors/index.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { kmipFlagsOf } from "../e2e/serving.ts";
import { findEtcd, startEtcd } from "./real-etcd.ts";

const objects = Number(process.argv[2] ?? 100_000);
const etcdctl = process.env["ETCDCTL"] ?? "etcdctl";
const sources = 20;
const program = await findEtcd();
if (program === undefined) throw new Error("etcd is not available here");
const folder = mkdtempSync(path.join(tmpdir(), "okms-measure-"));
const kms = await startDevKms();
const key = kms.keys.create({ name: "etcd" });
const cluster = await startEtcd(program, 1);
try {
  const seeds = await wrapSeeds();
  console.log(`${objects} Secrets of some 1.2 KB under ${sources} DEK sources`);
  for (let from = 0; from < objects; from += 1000)
    await cluster.put(
      Array.from({ length: Math.min(1000, objects - from) }, (_none, at) => pairOf(from + at)),
    );
  // Some are written twice, so that the snapshot has old revisions.
  await cluster.put(Array.from({ length: Math.min(1000, objects) }, (_none, at) => pairOf(at)));
  const { cert, key: keyFile, ca } = cluster.files;
  const live = ["--endpoints", cluster.endpoints.join(","), "--cacert", ca, "--cert", cert, "--key", keyFile];
  const flags = Object.entries(kmipFlagsOf(kms)).flatMap(([name, text]) => [`--${name}`, text]);
  await measure("audit, live etcd", ["audit", "--json", ...live]);
  await measure("audit --verify, live etcd", ["audit", "--json", "--verify", ...live, ...flags]);
  const file = process.argv[3] ?? path.join(folder, "snapshot.db");
  execFileSync(etcdctl, [...live, "snapshot", "save", file], {
    env: { ...process.env, ETCDCTL_API: "3" },
    stdio: "ignore",
  });
  await measure("audit, snapshot", ["audit", "--json", "--snapshot", file]);
  await measure("audit --verify, snapshot", ["audit", "--json", "--verify", "--snapshot", file, ...flags]);
  const before = kms.kmipRequests()["Decrypt"] ?? 0;
  await measure("recover --all, snapshot, YAML", ["recover", "--all", "--snapshot", file, ...flags]);
  console.log(`recover: ${(kms.kmipRequests()["Decrypt"] ?? 0) - before} Decrypts`);

  /** A Secret in etcd. */
  function pairOf(index: number): readonly [string, Buffer] {
    const name = `s-${String(index).padStart(6, "0")}`;
    const namespace = `ns-${index % 50}`;
    const etcdKey = `/registry/secrets/${namespace}/${name}`;
    const secret = create(SecretSchema, {
      metadata: { name, namespace, uid: crypto.randomUUID(), labels: { app: "measure" } },
      data: { password: randomBytes(32), certificate: randomBytes(900) },
      type: "Opaque",
    });
    const raw = toBinary(SecretSchema, secret);
    const unknown = create(UnknownSchema, { typeMeta: { apiVersion: "v1", kind: "Secret" }, raw });
    const plaintext = Buffer.concat([Buffer.from("k8s\0"), toBinary(UnknownSchema, unknown)]);
    const seed = seeds[index % sources];
    if (seed === undefined) throw new Error("no seed");
    const info = randomBytes(32);
    const nonce = randomBytes(12);
    const dek = createHmac("sha256", seed.bytes).update(info).update(Buffer.of(1)).digest();
    const cipher = createCipheriv("aes-256-gcm", dek, nonce).setAAD(Buffer.from(etcdKey));
    const encrypted = [cipher.update(plaintext), cipher.final(), cipher.getAuthTag()];
    const object = create(EncryptedObjectSchema, {
      encryptedData: Buffer.concat([info, nonce, ...encrypted]),
      keyId: key.id,
      encryptedDekSource: seed.wrapped.ciphertext,
      annotations: { ...seed.wrapped.annotations },
      encryptedDekSourceType: 1,
    });
    return [
      etcdKey,
      Buffer.concat([Buffer.from("k8s:enc:kms:v2:okms:"), toBinary(EncryptedObjectSchema, object)]),
    ];
  }
} finally {
  await cluster.close();
  await kms.close();
  rmSync(folder, { recursive: true });
}

async function wrapSeeds() {
  const { cert, key: secret, ca } = kms.clientFiles;
  const config = {
    protocol: "kmip",
    servers: [parseKmipAddress(kms.kmipAddress)],
    key: { id: key.id },
    okmsId: undefined,
  } as const;
  const encryptor = await createEncryptor({ ...config, kmipConnections: 2 }, () => undefined);
  encryptor.setTlsMaterial(await loadTlsMaterial({ cert, key: secret, ca }));
  const context = { signal: new AbortController().signal, deadline: performance.now() + 60_000 };
  const seeds = [];
  for (let index = 0; index < sources; index += 1) {
    const bytes = randomBytes(32);
    seeds.push({ bytes, wrapped: await encryptor.encrypt(bytes, key.id, context) });
  }
  await encryptor.close();
  return seeds;
}

/** Runs the built program; tells its time and its largest resident set. */
async function measure(what: string, args: readonly string[]): Promise<void> {
  const file = path.join(import.meta.dirname, "../../dist/okms-k8s-encryption-provider.js");
  const report = path.join(folder, "resources");
  const hook = `process.on("exit",()=>require("node:fs").writeFileSync(${JSON.stringify(report)},String(process.resourceUsage().maxRSS)))`;
  const preload = `data:text/javascript,import{createRequire}from"node:module";const require=createRequire("/");${hook}`;
  const begun = performance.now();
  const child = spawn(process.execPath, ["--import", preload, file, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let bytes = 0;
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => void (bytes += chunk.length));
  child.stderr.setEncoding("utf8").on("data", (text: string) => void (said += text));
  const [code] = (await once(child, "close")) as [number];
  const seconds = (performance.now() - begun) / 1000;
  const rss = Number(execFileSync("cat", [report], { encoding: "utf8" })) / 1024;
  console.log(
    `${what}: ${seconds.toFixed(1)} s, ${rss.toFixed(0)} MiB, exit ${code}, ${bytes} bytes ${said.trim()}`,
  );
}

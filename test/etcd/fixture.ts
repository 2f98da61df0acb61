/** What a real kube-apiserver left in etcd (fixtures/), and a KMS with the keys that it was encrypted under. */
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";

const folder = path.join(import.meta.dirname, "fixtures/etcd-1.34");

/** Paths of the files. */
export const fixture = {
  snapshot: path.join(folder, "snapshot.db"),
  live: path.join(folder, "live.json"),
} as const;

/** The keys of the KMS that the values are under. */
export const keyIds = {
  a: "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
  b: "41ecd794-6ff6-43b3-bd72-58902da29a61",
  /** Of no key. */
  dead: "00000000-dead-4000-8000-000000000000",
} as const;

/** The five values that were damaged by hand, with the reason that is to be given. */
export const damaged = {
  "/registry/secrets/default/broken-tag": "tag-wrong",
  "/registry/secrets/default/wrong-type": "wrong-type",
  "/registry/secrets/default/copied": "moved",
  "/registry/secrets/default/dead-key": "key-unknown",
  "/registry/secrets/default/cut": "cut",
} as const;

/** An object as the API server itself read it, before anything was damaged. */
export interface ExpectedObject {
  readonly list: string;
  readonly item: {
    readonly kind: string | null;
    readonly ns: string;
    readonly name: string;
    readonly uid: string;
    readonly labels: Readonly<Record<string, string>> | null;
    readonly annotations: Readonly<Record<string, string>> | null;
    readonly type: string | null;
    readonly data: Readonly<Record<string, string>> | null;
  };
}

/** What recover is to give. */
export function expectedObjects(): readonly ExpectedObject[] {
  return readJson("expected.json") as readonly ExpectedObject[];
}

/** The values of secrets, config maps and widgets, as `etcdctl get` gave them. */
export function liveValues(): readonly { readonly key: string; readonly value: string }[] {
  return readJson("live.json") as readonly { readonly key: string; readonly value: string }[];
}

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(path.join(folder, file), "utf8"));
}

interface FixtureKey {
  readonly id: string;
  readonly name: string;
  readonly base64: string;
}

/** The embedded KMS with the keys of the fixture. Closing it removes its folder. */
export async function startFixtureKms(): Promise<DevKms> {
  const home = await mkdtemp(path.join(tmpdir(), "okms-fixture-"));
  const keys = path.join(home, "keys");
  await mkdir(keys, { mode: 0o700 });
  const createdAt = new Date().toISOString();
  for (const { id, name, base64 } of readJson("keys.json") as readonly FixtureKey[]) {
    const life = { state: "Active", createdAt, stateDates: { Active: createdAt }, attributes: {} };
    const facts = { id, names: [name], algorithm: "AES", objectType: "SymmetricKey", lengthBits: 256 };
    const materialHex = Buffer.from(base64, "base64").toString("hex");
    const record = { ...facts, ...life, usage: ["Encrypt", "Decrypt"], materialHex };
    await writeFile(path.join(keys, `${id}.json`), JSON.stringify(record), { mode: 0o600 });
  }
  const kms = await startDevKms({ folder: home });
  return {
    ...kms,
    get kmipAddress() {
      return kms.kmipAddress;
    },
    get restUrl() {
      return kms.restUrl;
    },
    async close() {
      await kms.close();
      await rm(home, { recursive: true, force: true });
    },
  };
}

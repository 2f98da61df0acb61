/** The DEK sources of an old cluster: Secrets in etcd get one of their own, which kube-apiserver has to ask for. */
import { mkdirSync } from "node:fs";
import path from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { EncryptedObjectSchema } from "../../gen/k8s/v1/storage_pb.ts";
import { EncryptResponseSchema } from "../../gen/kms/v2/api_pb.ts";
import type { Database } from "../apiserver/cluster.ts";
import { kmipFlags } from "../bench/processes.ts";
import type { Caller } from "../support/caller.ts";
import { type ControlPlanes, roundTripMs } from "./control-planes.ts";
import { startPlugin } from "./plugin.ts";
import { nameOf } from "./secrets.ts";

/** `k8s:enc:kms:v2:NAME:`, and the message behind it. */
const prefixPattern = /^k8s:enc:kms:v2:[^:]+:/;
const atOnce = 16;

/** How {@link addSeeds} works. */
export interface SeedsOptions {
  /** Gets a folder for its plugin. */
  readonly folder: string;
  readonly count: number;
  /** The plugin has ended by itself. */
  readonly onFailure: (what: string) => void;
}

/**
 * Has the seed of so many Secrets wrapped once more: other bytes, by which kube-apiserver's cache does not know it. Their
 * content stays as it is. No API server runs meanwhile, and a plugin of its own does it, so that nothing of it is counted.
 */
export async function addSeeds(
  { kms, etcd }: ControlPlanes,
  { folder, count, onFailure }: SeedsOptions,
): Promise<void> {
  const own = path.join(folder, "seeds");
  mkdirSync(own);
  const plugin = await startPlugin(path.join(own, "kms.sock"), kmipFlags(kms, roundTripMs), own, onFailure);
  const queue = Array.from({ length: count }, (_none, index) => nameOf(index)).values();
  const work = async (): Promise<void> => {
    for (const name of queue) await wrapAgain(etcd, plugin.caller, `/registry/secrets/default/${name}`);
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, work));
  } finally {
    await plugin.end();
  }
}

async function wrapAgain(etcd: Database, caller: Caller, key: string): Promise<void> {
  const value = await etcd.get(key);
  const [prefix] = prefixPattern.exec(value.subarray(0, 200).toString("latin1")) ?? [];
  if (prefix === undefined) throw new Error(`${key} is not encrypted by a KMS`);
  const object = fromBinary(EncryptedObjectSchema, value.subarray(prefix.length));
  const { keyId, annotations, encryptedDekSource: ciphertext } = object;
  const seed = await caller.decrypt(create(EncryptResponseSchema, { ciphertext, keyId, annotations }));
  const again = await caller.encrypt(seed);
  object.keyId = again.keyId;
  object.annotations = again.annotations;
  object.encryptedDekSource = again.ciphertext;
  await etcd.put(key, Buffer.concat([Buffer.from(prefix), toBinary(EncryptedObjectSchema, object)]));
}

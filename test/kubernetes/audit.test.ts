/** The end of a run that knows etcd: a real etcd, read as `audit` reads it. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { type EtcdCluster, findEtcd, startEtcd } from "../etcd/real-etcd.ts";
import { TestApiServer } from "./api-server.ts";
import { reencrypt } from "./run.ts";

/** A length-delimited protobuf field of at most 127 bytes. */
function field(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([number * 8 + 2, bytes.length]), bytes]);
}

/** A Secret as kube-apiserver stores it under a key: an EncryptedObject with a seed (type 1). */
function valueUnder(keyId: string): Buffer {
  const fields = [field(1, Buffer.alloc(64, 1)), field(2, Buffer.from(keyId)), field(3, Buffer.alloc(60, 2))];
  return Buffer.concat([Buffer.from("k8s:enc:kms:v2:okms:"), ...fields, Buffer.from([5 * 8, 1])]);
}

async function etcdWith(t: TestContext, keyIds: readonly string[]): Promise<EtcdCluster | undefined> {
  const program = await findEtcd();
  if (program === undefined) {
    t.skip("no etcd can be had here");
    return undefined;
  }
  const etcd = await startEtcd(program, 1);
  t.after(() => etcd.close());
  for (const [index, keyId] of keyIds.entries())
    await etcd.put([[`/registry/secrets/default/secret-0000${index}`, valueUnder(keyId)]]);
  return etcd;
}

for (const [what, keyIds, code, message] of [
  ["is clean", ["new", "new"], 0, /Nothing is under an old key any more\. All .* is under new\.\n$/],
  [
    "finds an old key",
    ["old", "new"],
    1,
    /✖ 1 secret under kms v2 okms, key old[\s\S]*Something is still under an old key\.\n$/,
  ],
] as const)
  test(`reencrypt ends with ${code} where the audit ${what}`, async (t) => {
    const etcd = await etcdWith(t, keyIds);
    if (etcd === undefined) return;
    const api = await TestApiServer.start(t, 2);
    const { cert, key, ca: cacert } = etcd.files;
    const live = { endpoints: etcd.endpoints, cert, key, cacert };
    const ran = await reencrypt({ kubeconfig: api.kubeconfig(), etcd: live });
    assert.equal(ran.code, code, ran.stdout + ran.stderr);
    assert.match(ran.stdout, /Everything is rewritten/);
    assert.match(ran.stdout, message);
  });

test("reencrypt ends with 1 where etcd cannot be read, and says what is rewritten all the same", async (t) => {
  const api = await TestApiServer.start(t, 2);
  const missing = "/nowhere/ca.pem";
  for (const [cacert, message] of [
    [undefined, /✖ .*127\.0\.0\.1:1/],
    [missing, /✖ etcd cannot be read: \/nowhere\/ca\.pem/],
  ] as const) {
    const live = { endpoints: ["https://127.0.0.1:1"], cert: undefined, key: undefined, cacert };
    const ran = await reencrypt({ kubeconfig: api.kubeconfig(), etcd: live });
    assert.equal(ran.code, 1);
    assert.match(ran.stdout, message);
    assert.equal(api.staleCount, 0);
  }
});

/** The embedded KMS as a whole: what it keeps, its outages, its certificates. */
import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { BlockCipherMode } from "../../src/kmip/spec/enumerations.ts";
import {
  decryptOperation,
  discoverVersionsOperation,
  encryptOperation,
} from "../../src/kmip/operations/index.ts";
import { createAuthority } from "./certificates.ts";
import { type DevKms, type DevKmsOptions, startDevKms } from "./devkms.ts";
import { type BareClient, connectBare } from "./kmip-client.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

async function start(t: TestContext, options: DevKmsOptions = {}): Promise<DevKms> {
  const kms = await startDevKms(options);
  t.after(() => kms.close());
  return kms;
}

async function open(t: TestContext, kms: DevKms): Promise<BareClient> {
  const client = await connectBare(kms.kmipAddress, kms.clientFiles);
  t.after(() => client.socket.destroy());
  return client;
}

test("a second start in the same folder decrypts what the first encrypted, for the same clients", async (t) => {
  const folder = path.join(temporaryFolder(t), "kms");
  const parameters = { cryptographicParameters: { blockCipherMode: BlockCipherMode.GCM } };
  const asked = { ...parameters, ivCounterNonce: Buffer.alloc(12, 9) };

  const first = await startDevKms({ folder });
  const { id } = first.keys.create({ name: "kept" });
  const client = await open(t, first);
  const { data, authenticatedEncryptionTag } = await client.run(encryptOperation, {
    ...asked,
    uniqueIdentifier: id,
    data: Buffer.from("a seed"),
  });
  await first.close();

  const second = await start(t, { folder });
  assert.equal(second.okmsId, first.okmsId);
  assert.equal(second.authority.caPem, first.authority.caPem);
  const again = await open(t, second);
  const back = await again.run(decryptOperation, {
    ...asked,
    uniqueIdentifier: id,
    data,
    authenticatedEncryptionTag,
  });
  assert.equal(Buffer.from(back.data).toString(), "a seed");
  assert.equal((await stat(folder)).mode & 0o777, 0o700);
});

test("a KMS without a folder leaves none behind", async () => {
  const kms = await startDevKms({ rest: false });
  await kms.close();
  await kms.close();
  await assert.rejects(stat(kms.folder), { code: "ENOENT" });
});

test("stopped it refuses connections, and started again it answers on the same port with its counts", async (t) => {
  const kms = await start(t);
  const { kmipAddress, restUrl } = kms;
  const client = await open(t, kms);
  await client.run(discoverVersionsOperation, {});
  const closed = new Promise((resolve) => void client.socket.once("close", resolve));
  await kms.stop();
  await closed;
  assert.equal(kms.connections(), 0);
  for (const port of [kmipAddress.split(":")[1], new URL(restUrl).port]) {
    const [error] = await once(net.connect(Number(port), "127.0.0.1"), "error");
    assert.equal((error as NodeJS.ErrnoException).code, "ECONNREFUSED");
  }
  await kms.start();
  assert.deepEqual([kms.kmipAddress, kms.restUrl], [kmipAddress, restUrl]);
  await (await open(t, kms)).run(discoverVersionsOperation, {});
  assert.equal(kms.kmipRequests()["DiscoverVersions"], 2);
});

test("cutting ends open connections and takes new ones", async (t) => {
  const kms = await start(t, { rest: false });
  const client = await open(t, kms);
  await client.run(discoverVersionsOperation, {});
  const closed = new Promise((resolve) => void client.socket.once("close", resolve));
  assert.equal(kms.cutConnections(), 1);
  await closed;
  await (await open(t, kms)).run(discoverVersionsOperation, {});
});

for (const [what, change, code] of [
  ["that has expired", { notBefore: new Date(0), notAfter: new Date(86_400_000) }, "CERT_HAS_EXPIRED"],
  ["of another host", { dnsNames: ["elsewhere.example"], ipAddresses: [] }, "ERR_TLS_CERT_ALTNAME_INVALID"],
] as const)
  test(`a server certificate ${what} is shown to new connections, until the proper one is back`, async (t) => {
    const kms = await start(t, { rest: false });
    const before = await open(t, kms);
    await kms.setServerCertificate(change);
    await assert.rejects(open(t, kms), { code });
    await before.run(discoverVersionsOperation, {});
    await kms.setServerCertificate();
    await (await open(t, kms)).run(discoverVersionsOperation, {});
  });

test("a server certificate of another authority is shown to new connections of both faces", async (t) => {
  const kms = await start(t);
  await kms.setServerCertificate({}, await createAuthority());
  await assert.rejects(open(t, kms), /self-signed|unable to verify|issuer/);
  const rest = { ...kms.clientFiles };
  const viaRest = connectBare(new URL(kms.restUrl).host, rest);
  await assert.rejects(viaRest, /self-signed|unable to verify|issuer/);
});

test("two KMS share keys and authority where told to, and a face that was not asked for is not there", async (t) => {
  const one = await start(t, { rest: false });
  const two = await start(t, { keys: one.keys, authority: one.authority, rest: false });
  const { id } = one.keys.create();
  assert.ok(two.keys.get(id));
  const client = await connectBare(two.kmipAddress, one.clientFiles);
  t.after(() => client.socket.destroy());
  await client.run(discoverVersionsOperation, {});
  assert.throws(() => one.restUrl, /no REST face/);
});

test("a port that is taken is said, and nothing of the KMS stays behind", async (t) => {
  const kms = await start(t, { kmip: false });
  const port = Number(new URL(kms.restUrl).port);
  const free = net.createServer().listen(0, "127.0.0.1");
  await once(free, "listening");
  const kmipPort = (free.address() as net.AddressInfo).port;
  await new Promise((resolve) => void free.close(resolve));
  const half = startDevKms({ kmip: { port: kmipPort }, rest: { port } });
  await assert.rejects(half, { code: "EADDRINUSE", port });
  const [error] = await once(net.connect(kmipPort, "127.0.0.1"), "error");
  assert.equal((error as NodeJS.ErrnoException).code, "ECONNREFUSED");
});

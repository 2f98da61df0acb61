/**
 * The encryptor against a server on kmip-go, and kmip-go's client against the embedded KMS: the library of the Go original,
 * whose data must be read here and the other way round.
 */
import { parseKmipAddress, parseRestAddress } from "../../src/net/address.ts";
import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import type { CallContext, Encryptor, KeySelector, UnwrapRequest } from "../../src/encryptors/encryptor.ts";
import { createKmipEncryptor } from "../../src/encryptors/kmip.ts";
import { createRestEncryptor } from "../../src/encryptors/rest.ts";
import type { VersionText } from "../../src/kmip/version.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import { type CertificateFiles, createAuthority, writeClientFiles } from "../devkms/certificates.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { buildKmipGo, hasGo, type KmipGoServer, startKmipGoClient, startKmipGoServer } from "./kmip-go.ts";

const program = (await hasGo()) ? await buildKmipGo() : undefined;
const skip = program === undefined ? "no Go on this machine" : false;
const values = 1_000;
/** kmip-go's client sends one request after another: fewer where it is the client that is tried. */
const fewerValues = 250;
const all = ["1.0", "1.1", "1.2", "1.3", "1.4"] as const;
const sets: readonly VersionText[][] = Array.from({ length: 31 }, (_, index) =>
  all.filter((_version, bit) => ((index + 1) & (1 << bit)) !== 0),
);

let folder = "";
let files: CertificateFiles;
let server: KmipGoServer;
before(async () => {
  if (program === undefined) return;
  folder = await mkdtemp(path.join(tmpdir(), "okms-kmip-go-"));
  const authority = await createAuthority();
  files = await writeClientFiles(path.join(folder, "client"), authority);
  server = await startKmipGoServer(program, folder, authority);
});
after(async () => {
  if (program === undefined) return;
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

function context(ms = 20_000): CallContext {
  return { signal: AbortSignal.timeout(ms), deadline: performance.now() + ms };
}

async function encryptorFor(
  t: TestContext,
  key: KeySelector,
  address = server.address,
  own = files,
): Promise<Encryptor> {
  const encryptor = createKmipEncryptor({ servers: [parseKmipAddress(address)], key });
  t.after(() => encryptor.close());
  encryptor.setTlsMaterial(await loadTlsMaterial(own));
  return encryptor;
}

/** Of 1 to 1008 bytes, as kube-apiserver may send them. */
function randomValues(count: number): Buffer[] {
  return Array.from({ length: count }, () => randomBytes(randomInt(1, 1009)));
}

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");

/** What the Go original would have stored of a value that kmip-go's client encrypted. */
function wrappedBy(id: string, iv: Buffer, { data = "", tag = "" }): UnwrapRequest {
  return {
    keyId: id,
    ciphertext: Buffer.from(data + tag, "hex"),
    annotations: { "alg.okms.ovh.com": Buffer.from("AES_GCM"), "iv.okms.ovh.com": iv },
  };
}

/** Values that one side wraps and the other unwraps, both ways. */
async function exchangeValues(
  t: TestContext,
  ours: Encryptor,
  keyId: string,
  address: string,
  own: CertificateFiles,
  version: VersionText,
  count: number,
): Promise<void> {
  const theirs = startKmipGoClient(program ?? "", address, own, version);
  t.after(() => theirs.close());
  const plain = randomValues(count);

  const wrapped = await Promise.all(plain.map((value) => ours.encrypt(value, keyId, context())));
  const opened = await theirs.act(
    wrapped.map(({ ciphertext, annotations }) => ({
      do: "decrypt",
      id: keyId,
      data: hex(ciphertext.subarray(0, -16)),
      tag: hex(ciphertext.subarray(-16)),
      iv: hex(annotations["iv.okms.ovh.com"]),
    })),
  );
  assert.deepEqual(
    opened.map(({ data, failed }) => failed ?? data),
    plain.map(hex),
  );

  const ivs = plain.map(() => randomBytes(12));
  const made = await theirs.act(
    plain.map((value, at) => ({ do: "encrypt", id: keyId, data: hex(value), iv: hex(ivs[at]) })),
  );
  const back = await Promise.all(
    made.map((reply, at) => ours.decrypt(wrappedBy(keyId, ivs[at] ?? Buffer.of(), reply), context())),
  );
  assert.deepEqual(back.map(hex), plain.map(hex));
}

describe("a server on kmip-go that speaks", () => {
  for (const versions of sets)
    for (const tagInData of [false, true]) {
      const isUsable = versions.some((version) => version >= "1.2");
      if (tagInData && !isUsable) continue;
      const where = tagInData ? "the tag in the data" : "the tag in its field";
      const what = isUsable ? `is used, with ${where}` : "is refused plainly: it has no Encrypt";
      test(`${versions.join(", ")} ${what}`, { skip }, async (t) => {
        await server.set({ versions, tagInData });
        const encryptor = await encryptorFor(t, { label: server.keyName });
        const found = encryptor.resolveKey(context());
        if (!isUsable) {
          const message = new RegExp(`speaks KMIP ${versions.at(-1)?.replace(".", "\\.")} at most`);
          await assert.rejects(found, { code: "KMIP_VERSION", message });
          return;
        }
        const { keyId, lengthBits } = await found;
        assert.deepEqual([keyId, lengthBits], [server.keyId, 256]);
        const seed = randomBytes(32);
        const wrapped = await encryptor.encrypt(seed, keyId, context());
        assert.equal(hex(await encryptor.decrypt({ keyId, ...wrapped }, context())), hex(seed));
        // A driver that has not seen an Encrypt yet finds the place of the tag too.
        const fresh = await encryptorFor(t, { id: keyId });
        assert.equal(hex(await fresh.decrypt({ keyId, ...wrapped }, context())), hex(seed));
      });
    }
});

for (const version of ["1.4", "1.3", "1.2"] as const) {
  test(
    `${values} values each way between the encryptor and kmip-go's client, at a server on kmip-go that speaks ${version}`,
    { skip },
    async (t) => {
      await server.set({ versions: [version], tagInData: false });
      const ours = await encryptorFor(t, { id: server.keyId });
      await exchangeValues(t, ours, server.keyId, server.address, files, version, values);
    },
  );

  test(
    `${fewerValues} values each way between the encryptor and kmip-go's client, at the embedded KMS under ${version}`,
    { skip },
    async (t) => {
      const kms = await startDevKms({ rest: false, kmip: { maxVersion: version } });
      t.after(() => kms.close());
      const { id } = kms.keys.create({ name: "kek" });
      const ours = await encryptorFor(t, { id }, kms.kmipAddress, kms.clientFiles);
      await exchangeValues(t, ours, id, kms.kmipAddress, kms.clientFiles, version, fewerValues);
    },
  );
}

test(
  `${values} values there and back at a server on kmip-go that has the tag in the data`,
  { skip },
  async (t) => {
    await server.set({ versions: ["1.4"], tagInData: true });
    const ours = await encryptorFor(t, { id: server.keyId });
    const plain = randomValues(values);
    const wrapped = await Promise.all(plain.map((value) => ours.encrypt(value, server.keyId, context())));
    const back = await Promise.all(
      wrapped.map((each) => ours.decrypt({ keyId: server.keyId, ...each }, context())),
    );
    assert.deepEqual(back.map(hex), plain.map(hex));
  },
);

test("kmip-go's client finds a key of the embedded KMS by its name", { skip }, async (t) => {
  const kms = await startDevKms({ rest: false });
  t.after(() => kms.close());
  const { id } = kms.keys.create({ name: "kek" });
  const theirs = startKmipGoClient(program ?? "", kms.kmipAddress, kms.clientFiles, "1.4");
  t.after(() => theirs.close());
  assert.deepEqual(await theirs.act([{ do: "locate", name: "kek" }]), [{ id }]);
});

for (const by of ["id", "label"] as const)
  test(`the same key by the OKMS REST API of Go's net/http, found by its ${by}`, { skip }, async (t) => {
    const { url, okmsId, keyId } = server.rest;
    const key = by === "id" ? { id: keyId } : { label: server.keyName };
    const ours = createRestEncryptor({ servers: [parseRestAddress(url)], okmsId, key });
    t.after(() => ours.close());
    ours.setTlsMaterial(await loadTlsMaterial(files));
    assert.equal((await ours.resolveKey(context())).keyId, keyId);
    for (const value of Array.from({ length: 20 }, (_, index) => randomBytes(1 + 25 * index))) {
      const wrapped = await ours.encrypt(value, keyId, context());
      assert.equal(hex(await ours.decrypt({ keyId, ...wrapped }, context())), hex(value));
    }
    await assert.rejects(ours.encrypt(randomBytes(32), okmsId, context()), { code: "KEY_NOT_FOUND" });
  });

test("kmip-go's refusals arrive as what they mean", { skip }, async (t) => {
  await server.set({ versions: ["1.4"], tagInData: false });
  const ours = await encryptorFor(t, { id: server.keyId });
  const wrapped = await ours.encrypt(randomBytes(32), server.keyId, context());
  const changed = Buffer.from(wrapped.ciphertext);
  changed[0] = (changed[0] ?? 0) ^ 1;
  await assert.rejects(ours.decrypt({ keyId: server.keyId, ...wrapped, ciphertext: changed }, context()), {
    code: "REQUEST_CIPHERTEXT_INVALID",
  });
  await assert.rejects((await encryptorFor(t, { id: "another" })).resolveKey(context()), {
    code: "KEY_NOT_FOUND",
  });
  await assert.rejects((await encryptorFor(t, { label: "another" })).resolveKey(context()), {
    code: "KEY_NOT_FOUND",
  });
});

/**
 * The encryptor against PyKMIP's server, and PyKMIP's client against the embedded KMS: what two programs that do not
 * know each other make of the specification. PyKMIP has no place for the tag of GCM before KMIP 1.4.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { type TestContext, test } from "node:test";
import type { CallContext, Encryptor, KeySelector } from "../../src/encryptors/encryptor.ts";
import { createKmipEncryptor } from "../../src/encryptors/kmip.ts";
import type { VersionText } from "../../src/kmip/version.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import {
  type Authority,
  type CertificateFiles,
  createAuthority,
  writeCertificateFiles,
  writeClientFiles,
} from "../devkms/certificates.ts";
import { startDevKms } from "../devkms/devkms.ts";
import {
  preparePyKmip,
  type PyKmipClient,
  type PyKmipOptions,
  startPyKmipClient,
  startPyKmipServer,
} from "./pykmip.ts";
import { hasPython } from "./python.ts";
import { parseKmipAddress } from "../../src/net/address.ts";

const python = (await hasPython()) ? await preparePyKmip() : undefined;
const skip = python === undefined ? "no python3 with venv on this machine" : false;
const ivAnnotation = "iv.okms.ovh.com";

function context(): CallContext {
  return { signal: AbortSignal.timeout(10_000), deadline: performance.now() + 10_000 };
}

interface Bench {
  readonly address: string;
  readonly authority: Authority;
  readonly files: CertificateFiles;
  client(version: VersionText): Promise<PyKmipClient>;
  encryptor(key: KeySelector): Promise<Encryptor>;
}

/** Clients of the server at `address`, closed before it. */
function clientsOf(
  t: TestContext,
  folder: string,
  address: string,
  files: CertificateFiles,
): Pick<Bench, "client" | "encryptor"> {
  return {
    async client(version) {
      const client = await startPyKmipClient(python ?? "", folder, address, files, version);
      t.after(() => client.close());
      return client;
    },
    async encryptor(key) {
      const encryptor = createKmipEncryptor({ servers: [parseKmipAddress(address)], key });
      t.after(() => encryptor.close());
      encryptor.setTlsMaterial(await loadTlsMaterial(files));
      return encryptor;
    },
  };
}

const all = ["1.0", "1.1", "1.2", "1.3", "1.4"] as const;

async function pyKmip(
  t: TestContext,
  maxVersion: VersionText,
  options: Partial<PyKmipOptions> = {},
): Promise<Bench> {
  const folder = temporaryFolder(t);
  const authority = await createAuthority();
  // Its common name owns the keys: both clients have the same.
  const files = await writeClientFiles(path.join(folder, "client"), authority);
  const versions = all.filter((version) => version <= maxVersion);
  const server = await startPyKmipServer(python ?? "", folder, authority, { versions, ...options });
  t.after(() => server.close());
  return { address: server.address, authority, files, ...clientsOf(t, folder, server.address, files) };
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const bytes = (text: string | null | undefined): Buffer => Buffer.from(text ?? "", "hex");

for (const by of ["label", "id"] as const)
  test(
    `under KMIP 1.4 what one side encrypts the other decrypts, with a key of PyKMIP's found by ${by}`,
    { skip },
    async (t) => {
      const { client, encryptor } = await pyKmip(t, "1.4");
      const theirs = await client("1.4");
      const { id = "" } = await theirs.act({ do: "create", name: "seed" });
      const ours = await encryptor(by === "label" ? { label: "seed" } : { id });
      const key = await ours.resolveKey(context());
      assert.deepEqual([key.keyId, key.lengthBits], [id, 256]);

      const seed = randomBytes(32);
      const wrapped = await ours.encrypt(seed, id, context());
      assert.equal(wrapped.ciphertext.length, 48);
      const unwrapped = await theirs.act({
        do: "decrypt",
        id,
        data: hex(wrapped.ciphertext.subarray(0, -16)),
        tag: hex(wrapped.ciphertext.subarray(-16)),
        iv: hex(wrapped.annotations[ivAnnotation] ?? Buffer.alloc(0)),
      });
      assert.deepEqual(unwrapped, { data: hex(seed) });

      const iv = randomBytes(12);
      const made = await theirs.act({ do: "encrypt", id, data: hex(seed), iv: hex(iv) });
      const back = await ours.decrypt(
        {
          keyId: id,
          ciphertext: Buffer.concat([bytes(made.data), bytes(made.tag)]),
          annotations: { "alg.okms.ovh.com": Buffer.from("AES_GCM"), [ivAnnotation]: iv },
        },
        context(),
      );
      assert.equal(hex(back), hex(seed));
      assert.equal(hex(await ours.decrypt({ keyId: id, ...wrapped }, context())), hex(seed));
    },
  );

test("PyKMIP's refusals arrive as what they mean", { skip }, async (t) => {
  const { client, encryptor } = await pyKmip(t, "1.4");
  const theirs = await client("1.4");
  const { id = "" } = await theirs.act({ do: "create", name: "seed" });
  const ours = await encryptor({ label: "seed" });
  const wrapped = await ours.encrypt(randomBytes(32), id, context());
  const changed = Buffer.from(wrapped.ciphertext).fill((wrapped.ciphertext[0] ?? 0) ^ 1, 0, 1);
  // PyKMIP does not foresee that a tag may not match, and calls it a failure of its own.
  await assert.rejects(ours.decrypt({ keyId: id, ...wrapped, ciphertext: changed }, context()), {
    code: "KMIP_RESULT",
    refusal: { class: "other", name: "General Failure" },
  });
  await ours.decrypt({ keyId: id, ...wrapped }, context());
  await assert.rejects(ours.decrypt({ keyId: "no-such-key", ...wrapped }, context()), {
    code: "KEY_NOT_FOUND",
  });
  await assert.rejects((await encryptor({ label: "none" })).resolveKey(context()), { code: "KEY_NOT_FOUND" });
  await theirs.act({ do: "create", name: "seed" });
  await assert.rejects(ours.resolveKey(context()), { code: "KEY_AMBIGUOUS" });
  await theirs.act({ do: "revoke", id });
  await assert.rejects((await encryptor({ id })).resolveKey(context()), { code: "KEY_NOT_ACTIVE" });
});

for (const version of ["1.3", "1.2"] as const)
  test(
    `under KMIP ${version} a key is found, and PyKMIP's tag that is lost on the way is noticed`,
    { skip },
    async (t) => {
      const { client, encryptor } = await pyKmip(t, version);
      const { id = "" } = await (await client(version)).act({ do: "create", name: "seed" });
      const ours = await encryptor({ label: "seed" });
      assert.equal((await ours.resolveKey(context())).keyId, id);
      await assert.rejects(ours.encrypt(randomBytes(32), id, context()), { code: "KMIP_UNEXPECTED" });
    },
  );

for (const version of ["1.1", "1.0"] as const)
  test(`a PyKMIP limited to KMIP ${version} is refused plainly: it has no Encrypt`, { skip }, async (t) => {
    const { client, encryptor } = await pyKmip(t, version);
    const { id = "" } = await (await client(version)).act({ do: "create", name: "seed" });
    const ours = await encryptor({ id });
    await assert.rejects(ours.resolveKey(context()), { code: "KMIP_VERSION" });
  });

for (const versions of [["1.4"], ["1.3"], ["1.2"], ["1.2", "1.4"], ["1.0", "1.3"]] as const)
  test(`a PyKMIP that speaks ${versions.join(" and ")} only is agreed with`, { skip }, async (t) => {
    const { client, encryptor } = await pyKmip(t, "1.4", { versions });
    const newest = versions.at(-1) ?? "1.4";
    const { id = "" } = await (await client(newest)).act({ do: "create", name: "seed" });
    const ours = await encryptor({ label: "seed" });
    assert.equal((await ours.resolveKey(context())).keyId, id);
  });

/** An encryptor whose client certificate has no Extended Key Usage, before a PyKMIP with a key. */
async function withoutUsage(
  t: TestContext,
  options: Partial<PyKmipOptions>,
): Promise<{ readonly id: string; readonly ours: Encryptor }> {
  const { address, authority, client } = await pyKmip(t, "1.4", options);
  const { id = "" } = await (await client("1.4")).act({ do: "create", name: "seed" });
  const issued = await authority.issue({ commonName: "okms-client", withoutExtendedUsage: true });
  const files = await writeCertificateFiles(temporaryFolder(t), issued, authority.caPem);
  const ours = createKmipEncryptor({ servers: [parseKmipAddress(address)], key: { id } });
  t.after(() => ours.close());
  ours.setTlsMaterial(await loadTlsMaterial(files));
  return { id, ours };
}

test(
  "a client certificate without Extended Key Usage is refused by PyKMIP in a 1.0 header, and its words arrive",
  { skip },
  async (t) => {
    const { ours } = await withoutUsage(t, {});
    await assert.rejects(ours.resolveKey(context()), {
      code: "KEY_ACCESS_DENIED",
      message: /Authentication Not Successful: .*client certificate/,
    });
  },
);

test(
  "a client certificate without Extended Key Usage is taken by PyKMIP where it is told to",
  { skip },
  async (t) => {
    const { id, ours } = await withoutUsage(t, { enableTlsClientAuth: false });
    assert.equal((await ours.resolveKey(context())).keyId, id);
  },
);

for (const version of ["1.4", "1.3", "1.2"] as const)
  test(
    `PyKMIP's client under KMIP ${version} uses the embedded KMS from Create to Destroy`,
    { skip },
    async (t) => {
      const folder = temporaryFolder(t);
      const kms = await startDevKms({ folder: path.join(folder, "kms"), rest: false });
      t.after(() => kms.close());
      const { client } = clientsOf(t, folder, kms.kmipAddress, kms.clientFiles);
      const theirs = await client(version);
      const { id = "" } = await theirs.act({ do: "create", name: "seed" });
      assert.deepEqual(kms.keys.get(id)?.names, ["seed"]);
      assert.deepEqual(await theirs.act({ do: "locate", name: "seed" }), { ids: [id] });
      const { names = [] } = await theirs.act({ do: "attributes", id });
      assert.ok(names.includes("State") && names.includes("Cryptographic Usage Mask"));

      const [seed, iv] = [randomBytes(32), randomBytes(12)];
      const made = await theirs.act({ do: "encrypt", id, data: hex(seed), iv: hex(iv) });
      assert.equal(bytes(made.data).length + bytes(made.tag).length, 48);
      const back = await theirs.act({ do: "decrypt", id, data: made.data, tag: made.tag, iv: hex(iv) });
      assert.equal(back.data, hex(seed));
      assert.deepEqual(await theirs.act({ do: "destroy", id }), { refused: "PERMISSION_DENIED" });
      assert.deepEqual(await theirs.act({ do: "revoke", id }), {});
      assert.deepEqual(await theirs.act({ do: "destroy", id }), {});
      assert.equal(kms.keys.get(id)?.state, "Destroyed");
    },
  );

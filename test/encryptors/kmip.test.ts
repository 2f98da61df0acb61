/** The KMIP driver: the Go original's formats under every version, what it refuses, and what refusals become. */
import assert from "node:assert/strict";
import { createCipheriv, createDecipheriv } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import type { UnwrapRequest, Wrapped } from "../../src/encryptors/encryptor.ts";
import type { VersionText } from "../../src/kmip/index.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import type { StoredKey } from "../devkms/key-store.ts";
import { encryptorFor, type TestEncryptor, within } from "./kmip-harness.ts";

const versions = ["1.2", "1.3", "1.4"] as const satisfies VersionText[];
const iv = "iv.okms.ovh.com";
const alg = "alg.okms.ovh.com";
const seed = Buffer.from("0123456789abcdef0123456789abcdef");

const servers = new Map<VersionText, { kms: DevKms; encryptor: TestEncryptor }>();
let kms: DevKms;
let encryptor: TestEncryptor;
let key: StoredKey;

function at(version: VersionText): { kms: DevKms; encryptor: TestEncryptor } {
  const found = servers.get(version);
  assert.ok(found);
  return found;
}

before(async () => {
  const first = await startDevKms({ rest: false });
  key = first.keys.create({ name: "kek" });
  for (const maxVersion of versions) {
    const server =
      maxVersion === "1.4"
        ? first
        : await startDevKms({ rest: false, kmip: { maxVersion }, keys: first.keys });
    servers.set(maxVersion, { kms: server, encryptor: await encryptorFor(server, { id: key.id }) });
  }
  ({ kms, encryptor } = at("1.4"));
});
afterEach(() => resetFaults(kms.faults));
after(async () => {
  for (const server of servers.values()) {
    await server.encryptor.close();
    await server.kms.close();
  }
});

/** AES-GCM by Node alone, in the format of the Go original. */
function wrapByHand(plaintext: Uint8Array): Wrapped {
  const nonce = Buffer.alloc(12, 3);
  const cipher = createCipheriv("aes-256-gcm", key.material, nonce);
  const data = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  return { ciphertext: data, annotations: { [alg]: Buffer.from("AES_GCM"), [iv]: nonce } };
}

function unwrapByHand({ ciphertext, annotations }: Wrapped): Buffer {
  const nonce = annotations[iv];
  assert.ok(nonce);
  const decipher = createDecipheriv("aes-256-gcm", key.material, nonce);
  decipher.setAuthTag(ciphertext.subarray(-16));
  return Buffer.concat([decipher.update(ciphertext.subarray(0, -16)), decipher.final()]);
}

describe("Encrypt", () => {
  for (const version of versions)
    test(`gives data and tag, with IV and algorithm as annotations, under KMIP ${version}`, async () => {
      const wrapped = await at(version).encryptor.encrypt(seed, key.id, within());
      assert.equal(wrapped.ciphertext.length, 48);
      assert.deepEqual(Object.keys(wrapped.annotations).toSorted(), [alg, iv]);
      assert.equal(String(wrapped.annotations[alg]), "AES_GCM");
      assert.equal(wrapped.annotations[iv]?.length, 12);
      assert.deepEqual(unwrapByHand(wrapped), seed);
    });

  test("takes a fresh IV for each call, and for each try of a call", async () => {
    const ivs = new Set<string>();
    for (let nth = 0; nth < 5; nth += 1) {
      Object.assign(kms.faults, { closeAfterRequest: true, count: 1 });
      const wrapped = await encryptor.encrypt(seed, key.id, within());
      assert.deepEqual(unwrapByHand(wrapped), seed);
      ivs.add(String(wrapped.annotations[iv]));
    }
    assert.equal(ivs.size, 5);
  });

  test("takes plaintexts up to the 1008 bytes whose ciphertext kube-apiserver stores, and no longer ones", async () => {
    const longest = Buffer.alloc(1008, 5);
    assert.equal((await encryptor.encrypt(longest, key.id, within())).ciphertext.length, 1024);
    await assert.rejects(encryptor.encrypt(Buffer.alloc(1009), key.id, within()), {
      code: "RESPONSE_TOO_LARGE",
    });
    await assert.rejects(encryptor.encrypt(Buffer.alloc(0), key.id, within()), {
      code: "REQUEST_PLAINTEXT_EMPTY",
    });
  });

  test("of a key that the KMS does not know is KEY_NOT_FOUND", async () => {
    await assert.rejects(encryptor.encrypt(seed, "no-such-key", within()), { code: "KEY_NOT_FOUND" });
  });
});

describe("Decrypt", () => {
  for (const written of versions)
    for (const read of versions)
      test(`under KMIP ${read} reads what was encrypted under ${written}`, async () => {
        const wrapped = await at(written).encryptor.encrypt(seed, key.id, within());
        const plaintext = await at(read).encryptor.decrypt({ ...wrapped, keyId: key.id }, within());
        assert.deepEqual(Buffer.from(plaintext), seed);
      });

  for (const version of versions)
    test(`under KMIP ${version} reads what another program made of AES-GCM`, async () => {
      const plaintext = await at(version).encryptor.decrypt({ ...wrapByHand(seed), keyId: key.id }, within());
      assert.deepEqual(Buffer.from(plaintext), seed);
    });

  test("uses the key of the request, whatever key is configured", async () => {
    const other = kms.keys.create({ name: "other" });
    const wrapped = await encryptor.encrypt(seed, other.id, within());
    assert.deepEqual(Buffer.from(await encryptor.decrypt({ ...wrapped, keyId: other.id }, within())), seed);
    await assert.rejects(encryptor.decrypt({ ...wrapped, keyId: key.id }, within()), {
      code: "REQUEST_CIPHERTEXT_INVALID",
    });
  });

  test("passes over annotations that it does not know", async () => {
    const wrapped = wrapByHand(seed);
    const annotations = { ...wrapped.annotations, "new.okms.ovh.com": Uint8Array.of(1) };
    const plaintext = await encryptor.decrypt({ ...wrapped, annotations, keyId: key.id }, within());
    assert.deepEqual(Buffer.from(plaintext), seed);
  });

  for (const [part, index] of [
    ["data", 0],
    ["tag", 47],
  ] as const)
    for (const version of versions)
      test(`under KMIP ${version} of a ciphertext with one bit of its ${part} changed is REQUEST_CIPHERTEXT_INVALID`, async () => {
        const { ciphertext, annotations } = wrapByHand(seed);
        const changed = Uint8Array.from(ciphertext, (byte, nth) => (nth === index ? byte ^ 1 : byte));
        await assert.rejects(
          at(version).encryptor.decrypt({ ciphertext: changed, annotations, keyId: key.id }, within()),
          { code: "REQUEST_CIPHERTEXT_INVALID" },
        );
      });
});

test("Decrypt takes a missing algorithm for AES_GCM, as the Go original does", async () => {
  const wrapped = wrapByHand(seed);
  const annotations = { [iv]: wrapped.annotations[iv] ?? new Uint8Array() };
  assert.deepEqual(
    Buffer.from(await encryptor.decrypt({ ...wrapped, annotations, keyId: key.id }, within())),
    seed,
  );
});

describe("Decrypt refuses, before anything is sent,", () => {
  const good = { keyId: "key", ciphertext: new Uint8Array(48) };
  const annotations = { [alg]: Buffer.from("AES_GCM"), [iv]: new Uint8Array(12) };
  const table: [string, Partial<UnwrapRequest>, string][] = [
    ["an empty ciphertext", { ciphertext: new Uint8Array() }, "REQUEST_CIPHERTEXT_EMPTY"],
    ["a ciphertext of 15 bytes", { ciphertext: new Uint8Array(15) }, "REQUEST_CIPHERTEXT_TOO_SHORT"],
    ["a ciphertext of 1025 bytes", { ciphertext: new Uint8Array(1025) }, "REQUEST_CIPHERTEXT_TOO_LONG"],
    ["no IV", { annotations: { [alg]: annotations[alg] } }, "REQUEST_IV_MISSING"],
    ["an IV of 11 bytes", { annotations: { ...annotations, [iv]: new Uint8Array(11) } }, "REQUEST_IV_LENGTH"],
    ["an IV of 16 bytes", { annotations: { ...annotations, [iv]: new Uint8Array(16) } }, "REQUEST_IV_LENGTH"],
    [
      "another algorithm",
      { annotations: { ...annotations, [alg]: Buffer.from("AES_CBC") } },
      "REQUEST_ALG_UNSUPPORTED",
    ],
    ["an empty key_id", { keyId: "" }, "REQUEST_KEY_ID_INVALID"],
    ["a key_id of 1025 bytes", { keyId: "k".repeat(1025) }, "REQUEST_KEY_ID_INVALID"],
  ];
  for (const [what, changes, code] of table)
    test(what, async () => {
      const asked = kms.kmipRequests()["Decrypt"];
      await assert.rejects(encryptor.decrypt({ ...good, annotations, ...changes }, within()), { code });
      assert.equal(kms.kmipRequests()["Decrypt"], asked);
      const plaintext = await encryptor.decrypt({ ...wrapByHand(seed), keyId: key.id }, within());
      assert.deepEqual(Buffer.from(plaintext), seed, "the next good call works");
    });
});

describe("a refusal by the KMS is", () => {
  const table: [string, string][] = [
    ["ItemNotFound", "KEY_NOT_FOUND"],
    ["PermissionDenied", "KEY_ACCESS_DENIED"],
    ["AuthenticationNotSuccessful", "KEY_ACCESS_DENIED"],
    ["ObjectArchived", "KEY_NOT_ACTIVE"],
    ["IllegalOperation", "KEY_NOT_ACTIVE"],
    ["GeneralFailure", "KMIP_RESULT"],
    ["InvalidField", "KMIP_RESULT"],
  ];
  for (const [reason, code] of table)
    test(`${code} for ${reason}, in Encrypt and in Decrypt`, async () => {
      const wrapped = wrapByHand(seed);
      kms.faults.refuse = { reason };
      await assert.rejects(encryptor.encrypt(seed, key.id, within()), { code });
      await assert.rejects(encryptor.decrypt({ ...wrapped, keyId: key.id }, within()), { code });
    });

  test("REQUEST_CIPHERTEXT_INVALID for Cryptographic Failure in Decrypt, and no word of the request in Encrypt", async () => {
    kms.faults.refuse = { reason: "CryptographicFailure" };
    await assert.rejects(encryptor.decrypt({ ...wrapByHand(seed), keyId: key.id }, within()), {
      code: "REQUEST_CIPHERTEXT_INVALID",
    });
    await assert.rejects(encryptor.encrypt(seed, key.id, within()), { code: "KMIP_RESULT" });
  });

  for (const state of ["PreActive", "Deactivated", "Destroyed"] as const)
    test(`KEY_NOT_ACTIVE for an Encrypt with a key that is ${state} by now, which servers call denied`, async () => {
      const other = kms.keys.create({});
      await encryptor.encrypt(seed, other.id, within());
      kms.keys.update(other.id, { state });
      await assert.rejects(encryptor.encrypt(seed, other.id, within()), { code: "KEY_NOT_ACTIVE" });
    });

  test("KEY_UNUSABLE for an Encrypt with a key that may not encrypt any more", async () => {
    const other = kms.keys.create({ usage: ["Decrypt"] });
    await assert.rejects(encryptor.encrypt(seed, other.id, within()), { code: "KEY_UNUSABLE" });
  });

  test("KEY_ACCESS_DENIED where the key's attributes tell nothing against it, or are not told either", async () => {
    kms.faults.refuse = { reason: "PermissionDenied", operation: "Encrypt" };
    await assert.rejects(encryptor.encrypt(seed, key.id, within()), { code: "KEY_ACCESS_DENIED" });
    kms.faults.refuse = undefined;
    kms.faults.deniedKeys.add(key.id);
    await assert.rejects(encryptor.encrypt(seed, key.id, within()), { code: "KEY_ACCESS_DENIED" });
  });
});

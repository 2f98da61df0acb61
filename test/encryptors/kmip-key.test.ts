/** Finding the key in a KMIP server: by label, by identifier, in few messages, and each way that it can't be used. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import type { NewKey } from "../devkms/key-store.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import { encryptorFor, within } from "./kmip-harness.ts";

let kms: DevKms;
before(async () => {
  kms = await startDevKms({ rest: false });
});
afterEach(() => {
  resetFaults(kms.faults);
  for (const { id } of kms.keys.list()) kms.keys.remove(id);
});
after(() => kms.close());

describe("a key is found", () => {
  test("by its label, in one message", async () => {
    const key = kms.keys.create({ name: "kek", lengthBits: 128 });
    kms.keys.create({ name: "another" });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    assert.deepEqual(await encryptor.resolveKey(within()), { keyId: key.id, name: "kek", lengthBits: 128 });
    assert.deepEqual(encryptor.exchanges(), ["Locate+GetAttributes"]);
  });

  test("by its identifier, in one message", async () => {
    const key = kms.keys.create({ name: "kek" });
    await using encryptor = await encryptorFor(kms, { id: key.id });
    assert.deepEqual(await encryptor.resolveKey(within()), { keyId: key.id, name: "kek", lengthBits: 256 });
    assert.deepEqual(encryptor.exchanges(), ["GetAttributes"]);
  });

  test("by its label where the server keeps no ID placeholder, in three messages, then in two", async () => {
    const key = kms.keys.create({ name: "kek" });
    kms.faults.noPlaceholder = true;
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    assert.equal((await encryptor.resolveKey(within())).keyId, key.id);
    assert.deepEqual(encryptor.exchanges(), ["Locate+GetAttributes", "GetAttributes"]);
    assert.equal((await encryptor.resolveKey(within())).keyId, key.id);
    assert.deepEqual(encryptor.exchanges(), ["Locate", "GetAttributes"]);
  });

  test("by its label where it has moved to another key since", async () => {
    const old = kms.keys.create({ name: "kek" });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    assert.equal((await encryptor.resolveKey(within())).keyId, old.id);
    const next = kms.keys.create({});
    kms.keys.update(old.id, { names: [] });
    kms.keys.update(next.id, { names: ["kek"] });
    assert.equal((await encryptor.resolveKey(within())).keyId, next.id);
  });

  test("by its label where others that have it are not active any more", async () => {
    for (const state of ["Deactivated", "Compromised"] as const) kms.keys.create({ name: "kek", state });
    const key = kms.keys.create({ name: "kek" });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    assert.equal((await encryptor.resolveKey(within())).keyId, key.id);
  });

  test("without a single Get", async () => {
    const key = kms.keys.create({ name: "kek" });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await encryptor.resolveKey(within());
    const wrapped = await encryptor.encrypt(Buffer.alloc(32, 1), key.id, within());
    await encryptor.decrypt({ ...wrapped, keyId: key.id }, within());
    assert.equal(kms.kmipRequests()["Get"], undefined);
  });
});

describe("a label", () => {
  test("that no key has is KEY_NOT_FOUND", async () => {
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await assert.rejects(encryptor.resolveKey(within()), { code: "KEY_NOT_FOUND", message: /label "kek"/ });
  });

  test("that several active keys have is KEY_AMBIGUOUS, with their identifiers", async () => {
    const keys = [1, 2, 3].map(() => kms.keys.create({ name: "kek" }));
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await assert.rejects(encryptor.resolveKey(within()), (error) => {
      const { code, details } = error as { code: string; details: Record<string, string> };
      assert.equal(code, "KEY_AMBIGUOUS");
      for (const { id } of keys) assert.ok(details["keyIds"]?.includes(id));
      return true;
    });
  });

  test("that very many keys have is KEY_AMBIGUOUS without a look at each", async () => {
    for (let nth = 0; nth < 30; nth += 1) kms.keys.create({ name: "kek" });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await assert.rejects(encryptor.resolveKey(within()), { code: "KEY_AMBIGUOUS", message: /more than 8/ });
    assert.deepEqual(encryptor.exchanges(), ["Locate+GetAttributes"]);
  });

  test("that only keys out of use have is KEY_NOT_ACTIVE", async () => {
    for (const state of ["Deactivated", "PreActive"] as const) kms.keys.create({ name: "kek", state });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await assert.rejects(encryptor.resolveKey(within()), {
      code: "KEY_NOT_ACTIVE",
      message: /none of the 2/,
    });
  });

  for (const reason of ["PermissionDenied", "ItemNotFound", "ObjectArchived"] as const)
    test(`finds the active key beside one whose attributes are refused with ${reason}`, async () => {
      kms.keys.create({ name: "kek", state: "Deactivated" });
      const active = kms.keys.create({ name: "kek" });
      await using encryptor = await encryptorFor(kms, { label: "kek" });
      // The batch's own Get Attributes has no placeholder and fails; of the next two the first, the old key's, is refused.
      kms.faults.refuse = { reason, operation: "GetAttributes" };
      kms.faults.count = 2;
      assert.equal((await encryptor.resolveKey(within())).keyId, active.id);
    });

  test("that no key has whose attributes are not refused fails with the refusal", async () => {
    const keys = [1, 2].map(() => kms.keys.create({ name: "kek" }));
    for (const { id } of keys) kms.faults.deniedKeys.add(id);
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await assert.rejects(encryptor.resolveKey(within()), { code: "KEY_ACCESS_DENIED" });
  });

  test("that only a secret of another kind has is KEY_NOT_FOUND: a symmetric key is looked for", async () => {
    kms.keys.create({ name: "kek", objectType: "SecretData" });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await assert.rejects(encryptor.resolveKey(within()), { code: "KEY_NOT_FOUND" });
  });
});

describe("a key that can't be used is refused, with what is wrong:", () => {
  const table: [string, NewKey, string, RegExp][] = [
    ["it is not active yet", { state: "PreActive" }, "KEY_NOT_ACTIVE", /Pre-Active: activate it/],
    ["it is deactivated", { state: "Deactivated" }, "KEY_NOT_ACTIVE", /Deactivated/],
    ["it is compromised", { state: "Compromised" }, "KEY_NOT_ACTIVE", /Compromised/],
    ["it is destroyed", { state: "Destroyed" }, "KEY_NOT_ACTIVE", /Destroyed|Not Found/],
    ["it is of another algorithm", { algorithm: "3DES", lengthBits: 192 }, "KEY_UNUSABLE", /not AES/],
    [
      "it is no symmetric key",
      { objectType: "SecretData" },
      "KEY_UNUSABLE",
      /Secret Data, not a Symmetric Key/,
    ],
    ["it may not decrypt", { usage: ["Encrypt"] }, "KEY_UNUSABLE", /may not be used for Decrypt/],
    ["it may not encrypt", { usage: ["Decrypt"] }, "KEY_UNUSABLE", /may not be used for Encrypt/],
    ["it may do neither", { usage: [] }, "KEY_UNUSABLE", /may not be used for Encrypt and Decrypt/],
  ];
  for (const [what, options, code, message] of table)
    test(what, async () => {
      const { id } = kms.keys.create(options);
      await using encryptor = await encryptorFor(kms, { id });
      await assert.rejects(encryptor.resolveKey(within()), (error) => {
        assert.equal((error as { code: string }).code, code, String(error));
        assert.match(String(error), message);
        assert.ok(String(error).includes(id));
        return true;
      });
    });

  test("it does not exist", async () => {
    await using encryptor = await encryptorFor(kms, { id: "no-such-key" });
    await assert.rejects(encryptor.resolveKey(within()), {
      code: "KEY_NOT_FOUND",
      message: /key no-such-key: the KMS has no such key/,
    });
  });

  test("this client may not see it", async () => {
    const { id } = kms.keys.create({ name: "kek" });
    kms.faults.deniedKeys.add(id);
    await using byId = await encryptorFor(kms, { id });
    await assert.rejects(byId.resolveKey(within()), { code: "KEY_ACCESS_DENIED" });
  });

  test("the server is too old to encrypt", async () => {
    const old = await startDevKms({ rest: false, kmip: { maxVersion: "1.1" } });
    const { id } = old.keys.create({ name: "kek" });
    for (const key of [{ id }, { label: "kek" }]) {
      await using encryptor = await encryptorFor(old, key);
      await assert.rejects(encryptor.resolveKey(within()), {
        code: "KMIP_VERSION",
        message: `${old.kmipAddress} speaks KMIP 1.1 at most: Encrypt exists from KMIP 1.2 on`,
      });
    }
    await old.close();
  });
});

test("A refusal that says nothing of the key stays what it is", async () => {
  const { id } = kms.keys.create({ name: "kek" });
  kms.faults.refuse = { reason: "GeneralFailure", operation: "GetAttributes" };
  await using encryptor = await encryptorFor(kms, { id });
  await assert.rejects(encryptor.resolveKey(within()), {
    code: "KMIP_RESULT",
    refusal: { class: "other", name: "General Failure" },
  });
});

test("A server that takes no batch is asked in two messages", async () => {
  const key = kms.keys.create({ name: "kek" });
  kms.faults.refuse = { reason: "FeatureNotSupported", operation: "Locate" };
  kms.faults.count = 1;
  await using encryptor = await encryptorFor(kms, { label: "kek" });
  assert.equal((await encryptor.resolveKey(within())).keyId, key.id);
  assert.deepEqual(encryptor.exchanges(), ["Locate+GetAttributes", "Locate", "GetAttributes"]);
});

test("A server that hangs up on batches is asked in two messages, and soon gets no batch any more", async () => {
  const key = kms.keys.create({ name: "kek" });
  kms.faults.noBatches = true;
  await using encryptor = await encryptorFor(kms, { label: "kek" });
  const parts = ["Locate", "GetAttributes"];
  for (const expected of [["Locate+GetAttributes", ...parts], ["Locate+GetAttributes", ...parts], parts]) {
    assert.equal((await encryptor.resolveKey(within())).keyId, key.id);
    assert.deepEqual(encryptor.exchanges(), expected);
  }
});

test("A batch that was lost with its connection is no reason to send none", async () => {
  kms.keys.create({ name: "kek" });
  await using encryptor = await encryptorFor(kms, { label: "kek" });
  for (let lost = 0; lost < 3; lost += 1) {
    kms.faults.noBatches = true;
    await encryptor.resolveKey(within());
    kms.faults.noBatches = false;
    encryptor.exchanges();
    await encryptor.resolveKey(within());
    assert.deepEqual(encryptor.exchanges(), ["Locate+GetAttributes"]);
  }
});

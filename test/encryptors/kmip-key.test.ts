/** Finding the key in a KMIP server: by label, by identifier, in few messages, and each way that it can't be used. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { ProviderError } from "../../src/errors.ts";
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
  test("by its label, in two messages", async () => {
    const key = kms.keys.create({ name: "kek", lengthBits: 128 });
    kms.keys.create({ name: "another" });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    assert.deepEqual(await encryptor.resolveKey(within()), { keyId: key.id, name: "kek", lengthBits: 128 });
    assert.deepEqual(encryptor.exchanges(), ["Locate", "GetAttributes"]);
  });

  test("by its identifier, in one message", async () => {
    const key = kms.keys.create({ name: "kek" });
    await using encryptor = await encryptorFor(kms, { id: key.id });
    assert.deepEqual(await encryptor.resolveKey(within()), { keyId: key.id, name: "kek", lengthBits: 256 });
    assert.deepEqual(encryptor.exchanges(), ["GetAttributes"]);
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

  test("that very many keys have is KEY_AMBIGUOUS without reading each", async () => {
    for (let nth = 0; nth < 30; nth += 1) kms.keys.create({ name: "kek" });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await assert.rejects(encryptor.resolveKey(within()), { code: "KEY_AMBIGUOUS", message: /more than 8/ });
    assert.deepEqual(encryptor.exchanges(), ["Locate", "GetAttributes"]);
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
      // The first Get Attributes is the old key's; where it may be about the names it is asked again without.
      kms.faults.refuse = { reason, operation: "GetAttributes" };
      kms.faults.count = reason === "ItemNotFound" ? 3 : 1;
      assert.equal((await encryptor.resolveKey(within())).keyId, active.id);
    });

  test("that no key has whose attributes are not refused fails with the refusal", async () => {
    const keys = [1, 2].map(() => kms.keys.create({ name: "kek" }));
    for (const { id } of keys) kms.faults.deniedKeys.add(id);
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await assert.rejects(encryptor.resolveKey(within()), { code: "KEY_ACCESS_DENIED" });
  });

  test("that a server denies is refused with the server's name, for there may be several", async () => {
    const { id } = kms.keys.create({ name: "kek" });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    const wrapped = await encryptor.encrypt(Buffer.alloc(32, 1), id, within());
    kms.faults.deniedKeys.add(id);
    const namesServer = (error: unknown): boolean => {
      assert.ok(error instanceof ProviderError);
      assert.deepEqual(
        [error.code, error.details["endpoint"], error.details["keyId"]],
        ["KEY_ACCESS_DENIED", kms.kmipAddress, id],
      );
      return true;
    };
    await assert.rejects(encryptor.resolveKey(within()), namesServer);
    await assert.rejects(encryptor.decrypt({ ...wrapped, keyId: id }, within()), namesServer);
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
    [
      "it is deactivated",
      { state: "Deactivated" },
      "KEY_NOT_ACTIVE",
      /Deactivated: have the KMS's operator make it active again/,
    ],
    ["it is compromised", { state: "Compromised" }, "KEY_NOT_ACTIVE", /Compromised/],
    [
      "it is destroyed",
      { state: "Destroyed" },
      "KEY_NOT_ACTIVE",
      /Destroyed: have it restored from a backup/,
    ],
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

describe("a server that ignores the Name in a Locate, and gives an unrelated key, is KEY_NOT_FOUND", () => {
  test("with the name found", async () => {
    const { id } = kms.keys.create({ name: "master" });
    kms.faults.kmip.locateIgnoresName = true;
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await assert.rejects(encryptor.resolveKey(within()), {
      code: "KEY_NOT_FOUND",
      message: `the KMS was asked for the label "kek" and gave key ${id}, which has the name "master": the KMS ignores names; give the key by its identifier (--encryption-key-id)`,
    });
  });

  test("where it tells no names either", async () => {
    kms.keys.create({ name: "master" });
    Object.assign(kms.faults.kmip, { locateIgnoresName: true, tellsNoName: true });
    await using encryptor = await encryptorFor(kms, { label: "kek" });
    await assert.rejects(encryptor.resolveKey(within()), { code: "KEY_NOT_FOUND", message: /has no name/ });
  });
});

test("A key whose server tells no names is found by its label, and confirmed once by a name that no key has", async () => {
  const { id } = kms.keys.create({ name: "kek" });
  kms.faults.kmip.tellsNoName = true;
  await using encryptor = await encryptorFor(kms, { label: "kek" });
  for (const expected of [
    ["Locate", "GetAttributes", "Locate"],
    ["Locate", "GetAttributes"],
  ]) {
    assert.equal((await encryptor.resolveKey(within())).keyId, id);
    assert.deepEqual(encryptor.exchanges(), expected);
  }
});

test("An identifier that Locate gives twice is one key", async () => {
  const { id } = kms.keys.create({ name: "kek" });
  kms.faults.kmip.locateRepeats = true;
  await using encryptor = await encryptorFor(kms, { label: "kek" });
  assert.equal((await encryptor.resolveKey(within())).keyId, id);
});

for (const reason of ["ItemNotFound", "InvalidField"] as const)
  test(`A server that refuses all attributes with ${reason} since one is unset is asked for all, and so from then on`, async () => {
    const { id } = kms.keys.create({ name: "kek" });
    kms.faults.kmip.refusesUnset = reason;
    await using encryptor = await encryptorFor(kms, { id });
    for (const expected of [["GetAttributes", "GetAttributes"], ["GetAttributes"]]) {
      assert.equal((await encryptor.resolveKey(within())).name, "kek");
      assert.deepEqual(encryptor.exchanges(), expected);
    }
  });

describe("what a server tells in another form than the specification's is read:", () => {
  const table: [string, Partial<DevKms["faults"]["kmip"]>][] = [
    ["enumerations as Integers", { enumerationsAs: "Integer" }],
    ["enumerations as Text Strings", { enumerationsAs: "Text String" }],
    ["a Message Extension without its Criticality Indicator", { addsExtension: true }],
    ["a header of KMIP 2.0 on a reply to 1.4", { replyHeader: "2.0" }],
  ];
  for (const [what, quirks] of table)
    test(what, async () => {
      const { id } = kms.keys.create({ name: "kek" });
      Object.assign(kms.faults.kmip, quirks);
      await using encryptor = await encryptorFor(kms, { label: "kek" });
      assert.equal((await encryptor.resolveKey(within())).keyId, id);
      const wrapped = await encryptor.encrypt(Buffer.alloc(32, 1), id, within());
      const back = await encryptor.decrypt({ ...wrapped, keyId: id }, within());
      assert.deepEqual(Buffer.from(back), Buffer.alloc(32, 1));
    });

  test("a State as a Text String of a key that is not active", async () => {
    const { id } = kms.keys.create({ state: "PreActive" });
    kms.faults.kmip.enumerationsAs = "Text String";
    await using encryptor = await encryptorFor(kms, { id });
    await assert.rejects(encryptor.resolveKey(within()), { code: "KEY_NOT_ACTIVE", message: /Pre-Active/ });
  });
});

function inDays(days: number): Date {
  return new Date(Math.floor(Date.now() / 1000 + days * 86_400) * 1000);
}

describe("the dates of a key", () => {
  test("are told", async () => {
    const dates = { processStart: inDays(-1), protectStop: inDays(20), deactivation: inDays(40) };
    const { id } = kms.keys.create({ dates });
    await using encryptor = await encryptorFor(kms, { id });
    assert.deepEqual((await encryptor.resolveKey(within())).dates, dates);
  });

  test("are no reason to refuse the key: the KMS's clock decides", async () => {
    const { id } = kms.keys.create({ dates: { protectStop: inDays(-1) } });
    await using encryptor = await encryptorFor(kms, { id });
    assert.equal((await encryptor.resolveKey(within())).keyId, id);
  });

  test("say why Encrypt is refused after the Protect Stop Date, while Decrypt still works", async () => {
    const { id } = kms.keys.create();
    await using encryptor = await encryptorFor(kms, { id });
    const wrapped = await encryptor.encrypt(Buffer.alloc(32, 1), id, within());
    const protectStop = inDays(-1);
    kms.keys.update(id, { dates: { protectStop } });
    await assert.rejects(encryptor.encrypt(Buffer.alloc(32, 1), id, within()), {
      code: "KEY_NOT_ACTIVE",
      message: `key ${id}: its Protect Stop Date, ${protectStop.toISOString()}, has passed: the KMS refuses Encrypt, and Decrypt still works; choose another key`,
    });
    await encryptor.decrypt({ ...wrapped, keyId: id }, within());
  });

  test("say why Decrypt is refused before the Process Start Date", async () => {
    const { id } = kms.keys.create();
    await using encryptor = await encryptorFor(kms, { id });
    const wrapped = await encryptor.encrypt(Buffer.alloc(32, 1), id, within());
    kms.keys.update(id, { dates: { processStart: inDays(1) } });
    await assert.rejects(encryptor.decrypt({ ...wrapped, keyId: id }, within()), {
      code: "KEY_NOT_ACTIVE",
      message: /Process Start Date, .*, has not come/,
    });
  });
});

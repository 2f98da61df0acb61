/** What each KMIP operation of the embedded KMS does and refuses, through TLS with raw messages. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { KmipResultError } from "../../src/errors.ts";
import {
  type Attribute,
  attribute,
  attributeValue,
  attributeValues,
  customAttribute,
} from "../../src/kmip/attributes.ts";
import { call } from "../../src/kmip/batch.ts";
import * as operations from "../../src/kmip/operations/index.ts";
import {
  BlockCipherMode,
  CryptographicAlgorithm,
  CryptographicUsageMask,
  NameType,
  ObjectType,
  Operation,
  QueryFunction,
  ResultReason,
  ResultStatus,
  RevocationReasonCode,
  State,
} from "../../src/kmip/spec/enumerations.ts";
import { Tag } from "../../src/kmip/spec/tags.ts";
import { ItemType } from "../../src/kmip/ttlv/item.ts";
import { formatVersion, parseVersion, type VersionText } from "../../src/kmip/version.ts";
import { type DevKms, startDevKms } from "./devkms.ts";
import { resetFaults } from "./faults.ts";
import type { KeyState, NewKey } from "./key-store.ts";
import { type BareClient, connectBare } from "./kmip-client.ts";

const latest = parseVersion("1.4");
const usage = CryptographicUsageMask.Encrypt | CryptographicUsageMask.Decrypt;
const gcm = {
  blockCipherMode: BlockCipherMode.GCM,
  cryptographicAlgorithm: CryptographicAlgorithm.AES,
  tagLength: 16,
  ivLength: 12,
};

let kms: DevKms;
let client: BareClient;

before(async () => {
  kms = await startDevKms({ rest: false });
  client = await connectBare(kms.kmipAddress, kms.clientFiles);
});
after(async () => {
  client.socket.destroy();
  await kms.close();
  assert.equal(kms.connections(), 0);
});

/** Expects a refusal for this Result Reason, by its specification name. */
async function refused(promise: Promise<unknown>, reason: string): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof KmipResultError, String(error));
    assert.equal(error.reason, reason);
    return true;
  });
}

function named(value: string): { value: string; type: number } {
  return { value, type: NameType.UninterpretedTextString };
}

function template(change: { lengthBits?: number; algorithm?: number } = {}) {
  return [
    attribute("Cryptographic Algorithm", change.algorithm ?? CryptographicAlgorithm.AES, latest),
    attribute("Cryptographic Length", change.lengthBits ?? 256, latest),
    attribute("Cryptographic Usage Mask", usage, latest),
  ];
}

async function stateOf(id: string): Promise<number | undefined> {
  const { attributes } = await client.run(operations.getAttributesOperation, { uniqueIdentifier: id });
  return attributeValue(attributes, "State");
}

async function locate(...attributes: Attribute[]): Promise<readonly string[]> {
  const { uniqueIdentifiers } = await client.run(operations.locateOperation, { attributes });
  return uniqueIdentifiers;
}

test("a key lives from Create over Activate and Revoke to Destroy, and is told so at each step", async () => {
  const { uniqueIdentifier: id } = await client.run(operations.createOperation, {
    objectType: ObjectType.SymmetricKey,
    templateAttribute: { names: [], attributes: [...template(), attribute("Name", named("life"), latest)] },
  });
  assert.equal(await stateOf(id), State.PreActive);
  await refused(
    client.run(operations.encryptOperation, {
      uniqueIdentifier: id,
      cryptographicParameters: gcm,
      data: Buffer.of(1),
      ivCounterNonce: randomBytes(12),
    }),
    "Permission Denied",
  );
  await client.run(operations.activateOperation, { uniqueIdentifier: id });
  assert.equal(await stateOf(id), State.Active);
  await refused(client.run(operations.activateOperation, { uniqueIdentifier: id }), "Permission Denied");
  await refused(client.run(operations.destroyOperation, { uniqueIdentifier: id }), "Permission Denied");
  await client.run(operations.revokeOperation, {
    uniqueIdentifier: id,
    revocationReason: { code: RevocationReasonCode.CessationOfOperation },
  });
  assert.equal(await stateOf(id), State.Deactivated);
  assert.deepEqual(await locate(attribute("Name", named("life"), latest)), [id]);
  await client.run(operations.destroyOperation, { uniqueIdentifier: id });
  assert.equal(await stateOf(id), State.Destroyed);
  assert.deepEqual(await locate(attribute("Name", named("life"), latest)), []);
  assert.ok(kms.keys.get(id)?.material.every((byte) => byte === 0));
});

test("a key revoked as compromised is Compromised, whatever it was before", async () => {
  const key = kms.keys.create({ state: "PreActive" });
  await client.run(operations.revokeOperation, {
    uniqueIdentifier: key.id,
    revocationReason: { code: RevocationReasonCode.KeyCompromise },
  });
  assert.equal(kms.keys.get(key.id)?.state, "Compromised");
});

for (const [what, objectType, attributes, reason] of [
  [
    "an RSA key",
    ObjectType.SymmetricKey,
    template({ algorithm: CryptographicAlgorithm.RSA }),
    "Invalid Field",
  ],
  ["an AES key of 100 bits", ObjectType.SymmetricKey, template({ lengthBits: 100 }), "Invalid Field"],
  ["a key of no algorithm", ObjectType.SymmetricKey, template().slice(1), "Missing Data"],
  ["a certificate", ObjectType.Certificate, template(), "Invalid Field"],
] as const)
  test(`Create of ${what} is refused with ${reason}`, async () => {
    await refused(
      client.run(operations.createOperation, { objectType, templateAttribute: { names: [], attributes } }),
      reason,
    );
  });

test("Get Attributes tells all of a key, or what is named, and leaves out what there is not", async () => {
  const key = kms.keys.create({ name: "told", lengthBits: 192, usage: ["Decrypt"] });
  const all = await client.run(operations.getAttributesOperation, { uniqueIdentifier: key.id });
  assert.equal(attributeValue(all.attributes, "Unique Identifier"), key.id);
  assert.deepEqual(attributeValue(all.attributes, "Name"), named("told"));
  assert.equal(attributeValue(all.attributes, "Object Type"), ObjectType.SymmetricKey);
  assert.equal(attributeValue(all.attributes, "Cryptographic Algorithm"), CryptographicAlgorithm.AES);
  assert.equal(attributeValue(all.attributes, "Cryptographic Length"), 192);
  assert.equal(attributeValue(all.attributes, "Cryptographic Usage Mask"), CryptographicUsageMask.Decrypt);
  const some = await client.run(operations.getAttributesOperation, {
    uniqueIdentifier: key.id,
    attributeNames: ["State", "Destroy Date", "x-none"],
  });
  assert.deepEqual(
    some.attributes.map(({ name }) => name),
    ["State"],
  );
});

test("Locate finds by each attribute and by several, pages, and finds nothing for what nothing has", async () => {
  const names = ["page", "page", "page"];
  const ids = names.map((name) => kms.keys.create({ name }).id);
  const byName = attribute("Name", named("page"), latest);
  assert.deepEqual(await locate(byName), ids);
  assert.deepEqual(await locate(byName, attribute("Unique Identifier", ids[1] ?? "", latest)), [ids[1]]);
  assert.deepEqual(await locate(byName, attribute("State", State.PreActive, latest)), []);
  assert.deepEqual(await locate(attribute("Name", { value: "page", type: NameType.URI }, latest)), []);
  assert.deepEqual(await locate(byName, attribute("Object Type", ObjectType.SecretData, latest)), []);
  const mask = (bits: number) => attribute("Cryptographic Usage Mask", bits, latest);
  assert.deepEqual(await locate(byName, mask(CryptographicUsageMask.Encrypt)), ids);
  assert.deepEqual(await locate(byName, mask(CryptographicUsageMask.Sign)), []);
  const date = (seconds: number) => attribute("Initial Date", BigInt(seconds), latest);
  assert.deepEqual(await locate(byName, date(0), date(2 ** 40)), ids);
  assert.deepEqual(await locate(byName, date(0), date(1)), []);
  const page = await client.run(operations.locateOperation, {
    maximumItems: 1,
    offsetItems: 1,
    attributes: [byName],
  });
  assert.deepEqual(page, { locatedItems: 3, uniqueIdentifiers: [ids[1]] });
});

/** An attribute of a client's own making. */
function rack(value: string, index?: number): Attribute {
  return customAttribute("x-rack", { tag: Tag.AttributeValue, type: ItemType.TextString, value }, index);
}

test("attributes are added, modified and deleted, and what the server keeps to itself is not", async () => {
  const { id } = kms.keys.create({ name: "first" });
  const added = await client.run(operations.addAttributeOperation, {
    uniqueIdentifier: id,
    attribute: attribute("Name", named("second"), latest),
  });
  assert.equal(added.attribute.index, 1);
  await client.run(operations.addAttributeOperation, { uniqueIdentifier: id, attribute: rack("a") });
  await client.run(operations.modifyAttributeOperation, {
    uniqueIdentifier: id,
    attribute: attribute("Name", named("third"), latest, 1),
  });
  await client.run(operations.modifyAttributeOperation, { uniqueIdentifier: id, attribute: rack("b", 0) });
  assert.deepEqual(await locate(rack("b")), [id]);
  const deleted = await client.run(operations.deleteAttributeOperation, {
    uniqueIdentifier: id,
    attributeName: "Name",
    attributeIndex: 0,
  });
  assert.deepEqual(attributeValues([deleted.attribute], "Name"), [named("first")]);
  assert.deepEqual(kms.keys.get(id)?.names, ["third"]);
  await refused(
    client.run(operations.modifyAttributeOperation, {
      uniqueIdentifier: id,
      attribute: attribute("State", State.Destroyed, latest),
    }),
    "Permission Denied",
  );
  await refused(
    client.run(operations.deleteAttributeOperation, { uniqueIdentifier: id, attributeName: "x-none" }),
    "Item Not Found",
  );
  await refused(
    client.run(operations.modifyAttributeOperation, { uniqueIdentifier: id, attribute: rack("c", 7) }),
    "Index Out of Bounds",
  );
});

for (const version of ["1.2", "1.3", "1.4"] as const)
  for (const other of ["1.2", "1.4"] as const)
    test(`what is encrypted under KMIP ${version} decrypts under ${other}, the tag where the version puts it`, async () => {
      const { id } = kms.keys.create();
      const [data, iv] = [randomBytes(32), randomBytes(12)];
      const request = { uniqueIdentifier: id, cryptographicParameters: gcm, ivCounterNonce: iv };
      const reply = await client.run(operations.encryptOperation, { ...request, data }, version);
      assert.equal(reply.data.length, version === "1.4" ? 32 : 48);
      assert.equal(reply.authenticatedEncryptionTag?.length, version === "1.4" ? 16 : undefined);
      const whole = Buffer.concat([reply.data, reply.authenticatedEncryptionTag ?? Buffer.alloc(0)]);
      const back =
        other === "1.4"
          ? { data: whole.subarray(0, 32), authenticatedEncryptionTag: whole.subarray(32) }
          : { data: whole };
      const { data: got } = await client.run(operations.decryptOperation, { ...request, ...back }, other);
      assert.ok(data.equals(got));
      whole[3] = (whole[3] ?? 0) ^ 1;
      await refused(
        client.run(operations.decryptOperation, { ...request, ...back }, other),
        "Cryptographic Failure",
      );
    });

test("a random IV is made by the server where the client asks for one, and told", async () => {
  const { id } = kms.keys.create();
  const asked = { uniqueIdentifier: id, cryptographicParameters: { ...gcm, randomIV: true } };
  const aad = { authenticatedEncryptionAdditionalData: Buffer.from("bound to it") };
  const one = await client.run(operations.encryptOperation, { ...asked, data: Buffer.of(7), ...aad });
  assert.equal(one.ivCounterNonce?.length, 12);
  const { uniqueIdentifier, ...parts } = one;
  const back = { uniqueIdentifier, cryptographicParameters: gcm, ...parts };
  const { data } = await client.run(operations.decryptOperation, { ...back, ...aad });
  assert.deepEqual([...data], [7]);
  await refused(client.run(operations.decryptOperation, back), "Cryptographic Failure");
});

const encryptRequest = {
  cryptographicParameters: gcm,
  data: Buffer.of(1),
  ivCounterNonce: Buffer.alloc(12, 1),
};
const unusable: readonly (readonly [string, NewKey, object, string])[] = [
  ["a key that is PreActive", { state: "PreActive" }, {}, "Permission Denied"],
  ["a key that is Deactivated", { state: "Deactivated" }, {}, "Permission Denied"],
  ["a key that is Compromised", { state: "Compromised" }, {}, "Permission Denied"],
  ["a key for Decrypt only", { usage: ["Decrypt"] }, {}, "Permission Denied"],
  ["Secret Data", { objectType: "SecretData" }, {}, "Invalid Field"],
  ["a 3DES key", { algorithm: "3DES", lengthBits: 168 }, {}, "Invalid Field"],
  ["no parameters", {}, { cryptographicParameters: undefined }, "Invalid Field"],
  ["CBC", {}, { cryptographicParameters: { blockCipherMode: BlockCipherMode.CBC } }, "Invalid Field"],
  ["a tag of 4 bytes", {}, { cryptographicParameters: { ...gcm, tagLength: 4 } }, "Invalid Field"],
  ["no IV", {}, { ivCounterNonce: undefined }, "Invalid Field"],
  ["an empty IV", {}, { ivCounterNonce: Buffer.alloc(0) }, "Invalid Field"],
  ["the first of several parts", {}, { initIndicator: true }, "Feature Not Supported"],
  ["an unknown key", {}, { uniqueIdentifier: "no-such-key" }, "Item Not Found"],
];
for (const [what, key, change, reason] of unusable)
  test(`Encrypt with ${what} is refused with ${reason}`, async () => {
    const { id } = kms.keys.create(key);
    await refused(
      client.run(operations.encryptOperation, { ...encryptRequest, uniqueIdentifier: id, ...change }),
      reason,
    );
  });

for (const [version, data, change] of [
  ["1.2", Buffer.alloc(15), {}],
  ["1.4", Buffer.alloc(32), {}],
  ["1.4", Buffer.alloc(32), { authenticatedEncryptionTag: Buffer.alloc(15) }],
] as const)
  test(`Decrypt under ${version} of ${data.length} bytes with ${JSON.stringify(change)} is refused with Invalid Field`, async () => {
    const { id } = kms.keys.create();
    const request = { ...encryptRequest, uniqueIdentifier: id, data, ...change };
    await refused(client.run(operations.decryptOperation, request, version), "Invalid Field");
  });

test("a key that is denied refuses everything but to be found", async () => {
  const { id } = kms.keys.create({ name: "denied" });
  kms.faults.deniedKeys.add(id);
  assert.deepEqual(await locate(attribute("Name", named("denied"), latest)), [id]);
  await refused(stateOf(id), "Permission Denied");
  await refused(
    client.run(operations.encryptOperation, { ...encryptRequest, uniqueIdentifier: id }),
    "Permission Denied",
  );
  resetFaults(kms.faults);
  assert.equal(await stateOf(id), State.Active);
});

test("a batch hands the key on in the ID placeholder, after Create and after a Locate of one", async () => {
  const create = call(operations.createOperation, {
    objectType: ObjectType.SymmetricKey,
    templateAttribute: { names: [], attributes: [...template(), attribute("Name", named("batch"), latest)] },
  });
  const look = call(operations.locateOperation, { attributes: [attribute("Name", named("batch"), latest)] });
  const tell = call(operations.getAttributesOperation, { attributeNames: ["State"] });
  const { items } = await client.batch("1.4", [create, call(operations.activateOperation, {}), look, tell]);
  assert.deepEqual(
    items.map(({ resultStatus }) => resultStatus),
    Array.from({ length: 4 }, () => ResultStatus.Success),
  );
  const state = operations.getAttributesOperation.response.decodeItems(items[3]?.payload ?? [], "");
  assert.equal(attributeValue(state.attributes, "State"), State.Active);
  kms.keys.create({ name: "batch" });
  const several = await client.batch("1.4", [look, tell]);
  assert.equal(several.items[1]?.resultReason, ResultReason.ItemNotFound);
});

test("a KMS told to keep no ID placeholder answers as PyKMIP does", async () => {
  kms.keys.create({ name: "placeless" });
  kms.faults.noPlaceholder = true;
  const look = call(operations.locateOperation, {
    attributes: [attribute("Name", named("placeless"), latest)],
  });
  const { items } = await client.batch("1.4", [look, call(operations.getAttributesOperation, {})]);
  resetFaults(kms.faults);
  assert.deepEqual(
    items.map(({ resultStatus, resultReason }) => [resultStatus, resultReason]),
    [
      [ResultStatus.Success, undefined],
      [ResultStatus.OperationFailed, ResultReason.ItemNotFound],
    ],
  );
});

for (const [option, expected] of [
  [undefined, 2],
  [2, 2],
  [1, 3],
] as const)
  test(`after a failure in a batch with continuation option ${option} ${expected} of 3 items are answered`, async () => {
    const discover = call(operations.discoverVersionsOperation, {});
    const failing = call(operations.getAttributesOperation, { uniqueIdentifier: "no-such-key" });
    const options = option === undefined ? {} : { batchErrorContinuationOption: option };
    const { items } = await client.batch("1.4", [discover, failing, discover], options);
    assert.equal(items.length, expected);
    const ids = items.map(({ uniqueBatchItemId }) => Buffer.from(uniqueBatchItemId ?? []).toString("hex"));
    assert.equal(new Set(ids).size, expected);
  });

test("Undo is refused as a whole, and nothing of the batch is done", async () => {
  const { id } = kms.keys.create({ state: "PreActive" });
  const calls = [call(operations.activateOperation, { uniqueIdentifier: id })];
  const { items } = await client.batch("1.4", calls, { batchErrorContinuationOption: 3 });
  assert.equal(items[0]?.resultReason, ResultReason.FeatureNotSupported);
  assert.equal(kms.keys.get(id)?.state, "PreActive" satisfies KeyState);
});

test("an answer over the Maximum Response Size is refused with Response Too Large", async () => {
  const { id } = kms.keys.create();
  const calls = [call(operations.getAttributesOperation, { uniqueIdentifier: id })];
  const { items } = await client.batch("1.4", calls, { maximumResponseSize: 256 });
  assert.equal(items[0]?.resultReason, ResultReason.ResponseTooLarge);
});

test("Query tells the operations of the version that asks", async () => {
  const asked = { queryFunctions: [QueryFunction.QueryOperations, QueryFunction.QueryServerInformation] };
  const old = await client.run(operations.queryOperation, asked, "1.0");
  const current = await client.run(operations.queryOperation, asked, "1.4");
  assert.ok(
    !old.operations.includes(Operation.Encrypt) && !old.operations.includes(Operation.DiscoverVersions),
  );
  assert.ok(current.operations.includes(Operation.Encrypt) && !current.operations.includes(Operation.Get));
  assert.match(current.vendorIdentification ?? "", /embedded KMS/);
});

test("an operation that is not known is refused with Operation Not Supported, by its own number", async () => {
  const get = { name: "Get", operation: Operation.Get, encode: () => [] };
  const { items } = await client.batch("1.4", [get]);
  assert.equal(items[0]?.operation, Operation.Get);
  assert.equal(items[0]?.resultReason, ResultReason.OperationNotSupported);
});

const ceilings: readonly (readonly [VersionText, VersionText[]])[] = [
  ["1.4", ["1.4", "1.3", "1.2", "1.1", "1.0"]],
  ["1.2", ["1.2", "1.1", "1.0"]],
  ["1.1", ["1.1", "1.0"]],
];
for (const [maxVersion, expected] of ceilings)
  test(`a server limited to KMIP ${maxVersion} discovers its versions and refuses newer messages in its own`, async (t) => {
    const limited = await startDevKms({ rest: false, kmip: { maxVersion } });
    t.after(() => limited.close());
    const bare = await connectBare(limited.kmipAddress, limited.clientFiles);
    t.after(() => bare.socket.destroy());
    const all = await bare.run(operations.discoverVersionsOperation, {}, "1.1");
    assert.deepEqual(all.protocolVersions.map(formatVersion), expected);
    const some = await bare.run(
      operations.discoverVersionsOperation,
      { protocolVersions: [parseVersion("1.0"), { major: 2, minor: 0 }] },
      "1.1",
    );
    assert.deepEqual(some.protocolVersions.map(formatVersion), ["1.0"]);
    if (maxVersion === "1.4") return;
    const response = await bare.batch("1.4", [call(operations.discoverVersionsOperation, {})]);
    assert.equal(formatVersion(response.version), maxVersion);
    assert.equal(response.items[0]?.resultReason, ResultReason.InvalidMessage);
  });

test("a server limited to KMIP 1.0 knows neither Discover Versions nor Encrypt, and still answers", async (t) => {
  const limited = await startDevKms({ rest: false, kmip: { maxVersion: "1.0" } });
  t.after(() => limited.close());
  const bare = await connectBare(limited.kmipAddress, limited.clientFiles);
  t.after(() => bare.socket.destroy());
  const calls = [operations.discoverVersionsOperation, operations.encryptOperation].map(({ operation }) => ({
    name: "",
    operation,
    encode: () => [],
  }));
  const { items } = await bare.batch("1.0", calls, { batchErrorContinuationOption: 1 });
  assert.deepEqual(
    items.map(({ resultReason }) => resultReason),
    [ResultReason.OperationNotSupported, ResultReason.OperationNotSupported],
  );
});

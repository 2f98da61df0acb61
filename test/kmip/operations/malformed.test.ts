/**
 * Captured payloads and their malformed twins: each field that the specification requires, taken away; each field,
 * given a wrong type or sent twice; and which version each newer field needs. The tables are the specification's, not
 * the grammar's.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ProviderError } from "../../../src/errors.ts";
import { attribute } from "../../../src/kmip/attributes.ts";
import type { StructureCodec } from "../../../src/kmip/grammar.ts";
import { decodeRequest, decodeResponse } from "../../../src/kmip/messages.ts";
import * as all from "../../../src/kmip/operations/index.ts";
import { Operation } from "../../../src/kmip/spec/enumerations.ts";
import { Tag, tagIdentifier } from "../../../src/kmip/spec/tags.ts";
import { type Item, ItemType } from "../../../src/kmip/ttlv/item.ts";
import { parseVersion, supportedVersions, type VersionText } from "../../../src/kmip/version.ts";
import { fromHex, type OperationVector, readVectors } from "./vectors.ts";

/** Operation, its vectors, what its request must hold, what its response must hold. */
const requirements: readonly [all.OperationDefinition, string, readonly number[], readonly number[]][] = [
  [
    all.createOperation,
    "create",
    [Tag.ObjectType, Tag.TemplateAttribute],
    [Tag.ObjectType, Tag.UniqueIdentifier],
  ],
  [all.locateOperation, "locate", [], []],
  [all.getAttributesOperation, "get-attributes", [], [Tag.UniqueIdentifier]],
  [all.addAttributeOperation, "modify-attribute", [Tag.Attribute], [Tag.UniqueIdentifier, Tag.Attribute]],
  [all.modifyAttributeOperation, "modify-attribute", [Tag.Attribute], [Tag.UniqueIdentifier, Tag.Attribute]],
  [
    all.deleteAttributeOperation,
    "delete-attribute",
    [Tag.AttributeName],
    [Tag.UniqueIdentifier, Tag.Attribute],
  ],
  [all.activateOperation, "activate", [], [Tag.UniqueIdentifier]],
  [all.revokeOperation, "revoke", [Tag.RevocationReason], [Tag.UniqueIdentifier]],
  [all.destroyOperation, "destroy", [], [Tag.UniqueIdentifier]],
  [all.queryOperation, "query", [], []],
  [all.discoverVersionsOperation, "discover-versions", [], []],
  [all.encryptOperation, "encrypt", [Tag.Data], [Tag.Data]],
  [all.decryptOperation, "decrypt", [Tag.Data], [Tag.Data]],
];
/** Fields that a payload may hold several times. */
const repeatable: readonly [name: string, tag: number][] = [
  ["locate request", Tag.Attribute],
  ["locate response", Tag.UniqueIdentifier],
  ["get-attributes request", Tag.AttributeName],
  ["get-attributes response", Tag.Attribute],
  ["query request", Tag.QueryFunction],
  ["query response", Tag.Operation],
  ["query response", Tag.ObjectType],
  ["query response", Tag.ApplicationNamespace],
  ["discover-versions request", Tag.ProtocolVersion],
  ["discover-versions response", Tag.ProtocolVersion],
];

test("every operation is in the table, and Get is none of them", () => {
  assert.deepEqual(
    new Set(requirements.map(([{ name }]) => name)),
    new Set(all.operations.map(({ name }) => name)),
  );
  assert.ok(!all.operations.some(({ operation }) => operation === Operation.Get));
});

/** The payload of the newest captured message of that kind. */
function captured(file: string, kind: "request" | "response"): readonly Item[] {
  const vector = readVectors<OperationVector>(file).findLast(
    (one) =>
      one.version === "1.4" && one.kind === kind && one.payload !== undefined && one.says === undefined,
  );
  assert.ok(vector !== undefined);
  const message = (kind === "request" ? decodeRequest : decodeResponse)(fromHex(vector.hex));
  return message.items[0]?.payload ?? [];
}

function unexpectedAt(path: string, complaint: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof ProviderError &&
    error.code === "KMIP_UNEXPECTED" &&
    error.details["path"] === path &&
    complaint.test(error.message);
}

function tryTwins(
  codec: StructureCodec<unknown, never>,
  title: string,
  items: readonly Item[],
  must: readonly number[],
): void {
  const read = (twin: readonly Item[]) => () => codec.decodeItems(twin, "Payload");
  const mayRepeat = new Set(repeatable.filter(([name]) => name === title).map(([, tag]) => tag));

  for (const tag of new Set([...must, ...items.map((item) => item.tag)])) {
    const place = `Payload/${tagIdentifier(tag)}`;
    const others = items.filter((item) => item.tag !== tag);

    if (must.includes(tag))
      test(`without ${tagIdentifier(tag)} is refused`, () => {
        assert.throws(read(others), unexpectedAt(place, /is missing$/));
      });
    else test(`without ${tagIdentifier(tag)} reads`, () => assert.doesNotThrow(read(others)));

    const wrong: Item = { tag, type: ItemType.LongInteger, value: 1n };
    const wrongPlace = mayRepeat.has(tag) ? `${place}[0]` : place;
    test(`with ${tagIdentifier(tag)} as a Long Integer is refused`, () => {
      assert.throws(read([...others, wrong]), unexpectedAt(wrongPlace, /is of type Long Integer, not /));
    });

    if (!mayRepeat.has(tag))
      test(`with ${tagIdentifier(tag)} twice is refused`, () => {
        assert.throws(
          read([...items, ...items.filter((item) => item.tag === tag)]),
          unexpectedAt(place, /twice$/),
        );
      });
  }

  test("with items of a vendor's before and behind reads the same", () => {
    const foreign: Item = { tag: 0x540001, type: ItemType.TextString, value: "x" };
    assert.deepEqual(read([foreign, ...items, foreign])(), read(items)());
  });
}

for (const [definition, file, request, response] of requirements) {
  describe(`a request to ${definition.name}`, () =>
    tryTwins(definition.request, `${file} request`, captured(file, "request"), request));
  describe(`a response to ${definition.name}`, () =>
    tryTwins(definition.response, `${file} response`, captured(file, "response"), response));
}

const bytes = Uint8Array.of(1);
const data = { data: bytes };
const told = { uniqueIdentifier: "a", data: bytes };
const parameters = (cryptographicParameters: object) => ({ ...data, cryptographicParameters });
const newer: readonly [codec: StructureCodec<unknown, never>, value: object, first: VersionText][] = [
  [all.encryptOperation.request, data, "1.0"],
  [
    all.encryptOperation.request,
    parameters({ blockCipherMode: 9, hashingAlgorithm: 6, keyRoleType: 1 }),
    "1.0",
  ],
  [all.encryptOperation.request, parameters({ cryptographicAlgorithm: 3 }), "1.2"],
  [all.encryptOperation.request, parameters({ digitalSignatureAlgorithm: 1 }), "1.2"],
  [all.encryptOperation.request, parameters({ randomIV: true }), "1.2"],
  [all.encryptOperation.request, parameters({ ivLength: 12 }), "1.2"],
  [all.encryptOperation.request, parameters({ tagLength: 16 }), "1.2"],
  [all.encryptOperation.request, parameters({ fixedFieldLength: 1 }), "1.2"],
  [all.encryptOperation.request, parameters({ invocationFieldLength: 1 }), "1.2"],
  [all.encryptOperation.request, parameters({ counterLength: 1 }), "1.2"],
  [all.encryptOperation.request, parameters({ initialCounterValue: 1 }), "1.2"],
  [all.encryptOperation.request, parameters({ saltLength: 1 }), "1.4"],
  [all.encryptOperation.request, parameters({ maskGenerator: 1 }), "1.4"],
  [all.encryptOperation.request, parameters({ maskGeneratorHashingAlgorithm: 1 }), "1.4"],
  [all.encryptOperation.request, parameters({ pSource: bytes }), "1.4"],
  [all.encryptOperation.request, parameters({ trailerField: 1 }), "1.4"],
  [all.encryptOperation.request, { ...data, correlationValue: bytes }, "1.3"],
  [all.encryptOperation.request, { ...data, initIndicator: true }, "1.3"],
  [all.encryptOperation.request, { ...data, finalIndicator: true }, "1.3"],
  [all.encryptOperation.request, { ...data, authenticatedEncryptionAdditionalData: bytes }, "1.4"],
  [all.encryptOperation.response, { ...told, correlationValue: bytes }, "1.3"],
  [all.encryptOperation.response, { ...told, authenticatedEncryptionTag: bytes }, "1.4"],
  [all.decryptOperation.request, { ...data, correlationValue: bytes }, "1.3"],
  [all.decryptOperation.request, { ...data, initIndicator: true }, "1.3"],
  [all.decryptOperation.request, { ...data, finalIndicator: true }, "1.3"],
  [all.decryptOperation.request, { ...data, authenticatedEncryptionAdditionalData: bytes }, "1.4"],
  [all.decryptOperation.request, { ...data, authenticatedEncryptionTag: bytes }, "1.4"],
  [all.decryptOperation.response, { ...told, correlationValue: bytes }, "1.3"],
  [all.locateOperation.request, { maximumItems: 1, storageStatusMask: 1 }, "1.0"],
  [all.locateOperation.request, { offsetItems: 1 }, "1.3"],
  [all.locateOperation.request, { objectGroupMember: 1 }, "1.1"],
  [all.locateOperation.response, { locatedItems: 1 }, "1.3"],
  [all.queryOperation.response, { operations: [1], vendorIdentification: "v", serverInformation: [] }, "1.0"],
  [all.queryOperation.response, { extensionInformation: [[]] }, "1.1"],
  [all.queryOperation.response, { attestationTypes: [1] }, "1.2"],
  [all.queryOperation.response, { rngParameters: [[]] }, "1.3"],
  [all.queryOperation.response, { profileInformation: [[]] }, "1.3"],
  [all.queryOperation.response, { validationInformation: [[]] }, "1.3"],
  [all.queryOperation.response, { capabilityInformation: [[]] }, "1.3"],
  [all.queryOperation.response, { clientRegistrationMethods: [1] }, "1.3"],
];

describe("a field is sent from the version on that brought it:", () => {
  for (const [codec, value, first] of newer) {
    const field = JSON.stringify(value, (_, one) => (one instanceof Uint8Array ? "bytes" : one));
    test(`${field} from KMIP ${first} on`, () => {
      for (const version of supportedVersions) {
        const write = (): unknown => codec.encodeItems(value as never, version);
        if (version.minor >= parseVersion(first).minor) assert.doesNotThrow(write);
        else assert.throws(write, { code: "KMIP_VERSION" });
      }
    });
  }
});

test("a field newer than the version of a reply is read all the same", () => {
  const items = all.encryptOperation.response.encodeItems(
    { ...told, authenticatedEncryptionTag: bytes },
    parseVersion("1.4"),
  );
  assert.deepEqual(all.encryptOperation.response.decodeItems(items, "").authenticatedEncryptionTag, bytes);
});

test("fields are written in the specification's order, whatever the order of the value", () => {
  const items = all.decryptOperation.request.encodeItems(
    {
      authenticatedEncryptionTag: bytes,
      authenticatedEncryptionAdditionalData: bytes,
      finalIndicator: true,
      initIndicator: true,
      correlationValue: bytes,
      ivCounterNonce: bytes,
      data: bytes,
      cryptographicParameters: {},
      uniqueIdentifier: "a",
    },
    parseVersion("1.4"),
  );
  assert.deepEqual(
    items.map(({ tag }) => tagIdentifier(tag)),
    [
      "UniqueIdentifier",
      "CryptographicParameters",
      "Data",
      "IVCounterNonce",
      "CorrelationValue",
      "InitIndicator",
      "FinalIndicator",
      "AuthenticatedEncryptionAdditionalData",
      "AuthenticatedEncryptionTag",
    ],
  );
});

test("an attribute without a value is refused with its place in the list", () => {
  const whole = all.locateOperation.request.encodeItems(
    { attributes: [attribute("State", 2, parseVersion("1.4")), attribute("State", 2, parseVersion("1.4"))] },
    parseVersion("1.4"),
  );
  const [first, second] = whole;
  assert.ok(first !== undefined && second !== undefined && second.type === ItemType.Structure);
  const twin = [first, { ...second, value: second.value.slice(0, 1) }];
  assert.throws(
    () => all.locateOperation.request.decodeItems(twin, "Payload"),
    unexpectedAt("Payload/Attribute[1]/AttributeValue", /is missing$/),
  );
});

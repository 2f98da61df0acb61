/** Properties of every operation: what is written reads as it was, and no items, however odd, do more than be refused. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { ProviderError } from "../../../src/errors.ts";
import { attribute } from "../../../src/kmip/attributes.ts";
import { call, createRequest } from "../../../src/kmip/batch.ts";
import { decodeRequest, encodeRequest } from "../../../src/kmip/messages.ts";
import {
  decryptOperation,
  encryptOperation,
  locateOperation,
  operations,
  revokeOperation,
} from "../../../src/kmip/operations/index.ts";
import { Tag } from "../../../src/kmip/spec/tags.ts";
import { type Item, ItemType } from "../../../src/kmip/ttlv/item.ts";
import { supportedVersions } from "../../../src/kmip/version.ts";

const plain = { noNullPrototype: true };
const bytes = fc.uint8Array({ maxLength: 2000 });
const enumeration = fc.nat({ max: 0xffff_ffff });
const version = fc.constantFrom(...supportedVersions);
const text = fc.string({ unit: "binary" });

const cryptographicParameters = fc.record(
  {
    blockCipherMode: enumeration,
    cryptographicAlgorithm: enumeration,
    randomIV: fc.boolean(),
    ivLength: fc.integer(),
    tagLength: fc.integer(),
    saltLength: fc.integer(),
    pSource: bytes,
  },
  { ...plain, requiredKeys: [] },
);
const cipherRequest = {
  uniqueIdentifier: text,
  cryptographicParameters,
  data: bytes,
  ivCounterNonce: bytes,
  correlationValue: bytes,
  initIndicator: fc.boolean(),
  finalIndicator: fc.boolean(),
  authenticatedEncryptionAdditionalData: bytes,
};
const dataOnly: ["data"] = ["data"];
const encryptRequest = fc.record(cipherRequest, { ...plain, requiredKeys: dataOnly });
const decryptRequest = fc.record(
  { ...cipherRequest, authenticatedEncryptionTag: bytes },
  { ...plain, requiredKeys: dataOnly },
);
const locateRequest = fc.record(
  {
    maximumItems: fc.integer(),
    offsetItems: fc.integer(),
    storageStatusMask: fc.integer(),
    attributes: fc.array(
      text.map((value) => attribute("Name", { value, type: 1 }, { major: 1, minor: 0 })),
      { maxLength: 5 },
    ),
  },
  { ...plain, requiredKeys: ["attributes"] },
);
const revokeRequest = fc.record(
  {
    uniqueIdentifier: text,
    revocationReason: fc.record({ code: enumeration, message: text }, { ...plain, requiredKeys: ["code"] }),
    compromiseOccurrenceDate: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  },
  { ...plain, requiredKeys: ["revocationReason"] },
);

/** Writes a request whole, and reads it again; undefined where the version is too old for it. */
function thereAndBack<Value>(
  definition: Parameters<typeof call<Value>>[0],
  value: Value,
  inVersion: (typeof supportedVersions)[number],
): unknown {
  try {
    const { items } = decodeRequest(encodeRequest(createRequest(inVersion, [call(definition, value)])));
    assert.equal(items[0]?.operation, definition.operation);
    return definition.request.decodeItems(items[0]?.payload ?? [], "");
  } catch (error) {
    if (error instanceof ProviderError && error.code === "KMIP_VERSION" && inVersion.minor < 4)
      return undefined;
    throw error;
  }
}

describe("what is written reads as it was, or is too new for the version:", () => {
  test("Encrypt", () => {
    fc.assert(
      fc.property(encryptRequest, version, (value, inVersion) => {
        assert.deepEqual(thereAndBack(encryptOperation, value, inVersion) ?? value, value);
      }),
    );
  });
  test("Decrypt", () => {
    fc.assert(
      fc.property(decryptRequest, version, (value, inVersion) => {
        assert.deepEqual(thereAndBack(decryptOperation, value, inVersion) ?? value, value);
      }),
    );
  });
  test("Locate", () => {
    fc.assert(
      fc.property(locateRequest, version, (value, inVersion) => {
        assert.deepEqual(thereAndBack(locateOperation, value, inVersion) ?? value, value);
      }),
    );
  });
  test("Revoke, which every version has", () => {
    fc.assert(
      fc.property(revokeRequest, version, (value, inVersion) => {
        assert.deepEqual(thereAndBack(revokeOperation, value, inVersion), value);
      }),
    );
  });
});

/** Tags that the payloads hold, and one that none holds. */
const tags = [
  Tag.UniqueIdentifier,
  Tag.Data,
  Tag.IVCounterNonce,
  Tag.CryptographicParameters,
  Tag.BlockCipherMode,
  Tag.ObjectType,
  Tag.TemplateAttribute,
  Tag.Name,
  Tag.NameValue,
  Tag.NameType,
  Tag.Attribute,
  Tag.AttributeName,
  Tag.AttributeValue,
  Tag.RevocationReason,
  Tag.RevocationReasonCode,
  Tag.MaximumItems,
  Tag.Operation,
  Tag.QueryFunction,
  Tag.ServerInformation,
  Tag.ProtocolVersion,
  Tag.ProtocolVersionMajor,
  Tag.ProtocolVersionMinor,
  0x540001,
];

/** Items with tags that the operations know, and types and nesting as chance has it. */
const oddItem: fc.Arbitrary<Item> = fc.letrec<{ item: Item }>((tie) => {
  const tag = fc.constantFrom(...tags);
  const of = <Type extends ItemType>(type: Type, value: fc.Arbitrary<unknown>): fc.Arbitrary<Item> =>
    fc.record({ tag, type: fc.constant(type), value }).map((item) => item as Item);
  return {
    item: fc.oneof(
      { maxDepth: 4 },
      of(ItemType.TextString, fc.string()),
      of(ItemType.ByteString, fc.uint8Array()),
      of(ItemType.Integer, fc.integer()),
      of(ItemType.Enumeration, enumeration),
      of(ItemType.Structure, fc.array(tie("item"), { maxLength: 6 })),
    ),
  };
}).item;

for (const { name, request, response } of operations)
  test(`${name}: items as chance has them are read, or refused as unexpected`, () => {
    fc.assert(
      fc.property(fc.array(oddItem, { maxLength: 10 }), (items) => {
        for (const codec of [request, response])
          try {
            codec.decodeItems(items, "Payload");
          } catch (error) {
            assert.ok(error instanceof ProviderError && error.code === "KMIP_UNEXPECTED", String(error));
          }
      }),
    );
  });

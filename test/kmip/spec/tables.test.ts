/** The specification's tables: complete, without a number or a name twice, and spelled as the specification does. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as enumerations from "../../../src/kmip/spec/enumerations.ts";
import { profileNames } from "../../../src/kmip/spec/profile-names.ts";
import { isKnownTag, Tag, tagByName, tagIdentifier, tagName } from "../../../src/kmip/spec/tags.ts";

const { enumerationName, isMask, maskNames } = enumerations;

describe("tags", () => {
  test("are numbered from 0x420001 to 0x420124 without a gap, as 1.4 has them", () => {
    const sorted = Object.values(Tag).toSorted((a, b) => a - b);
    assert.deepEqual(
      sorted,
      Array.from({ length: 0x124 }, (_, index) => 0x420001 + index),
    );
  });

  test("have names that lead back to them", () => {
    for (const tag of Object.values(Tag)) {
      assert.equal(tagByName(tagName(tag)), tag);
      assert.equal(Tag[tagIdentifier(tag) as keyof typeof Tag], tag);
      assert.ok(isKnownTag(tag));
    }
  });

  // From section 9.1.3.1: the ends of the versions, and the names with more than letters in them.
  for (const [tag, name] of [
    [0x420001, "Activation Date"],
    [0x42000f, "Batch Item"],
    [0x42001f, "Common Template-Attribute"],
    [0x420027, "CRT Coefficient"],
    [0x42002c, "Cryptographic Usage Mask"],
    [0x42003d, "IV/Counter/Nonce"],
    [0x42004e, "MAC/Signature Key Information"],
    [0x42005c, "Operation"],
    [0x420069, "Protocol Version"],
    [0x420072, "Q String"],
    [0x420078, "Request Message"],
    [0x42007b, "Response Message"],
    [0x420083, "Key Role Type"],
    [0x420091, "Template-Attribute"],
    [0x420093, "Unique Batch Item ID"],
    [0x420094, "Unique Identifier"],
    [0x4200a1, "Password"],
    [0x4200a2, "Device Identifier"],
    [0x4200b5, "X.509 Certificate Identifier"],
    [0x4200b8, "Key Value Location"],
    [0x4200c2, "Data"],
    [0x4200c5, "Random IV"],
    [0x4200d3, "Attestation Capable Indicator"],
    [0x4200d5, "Located Items"],
    [0x4200dc, "FIPS186 Variation"],
    [0x4200f7, "Capability Information"],
    [0x4200fb, "PKCS#12 Friendly Name"],
    [0x4200ff, "Authenticated Encryption Tag"],
    [0x420106, "Server Correlation Value"],
    [0x420113, "Certificate Subject DN Qualifier"],
    [0x420124, "Replace Existing"],
  ] as const)
    test(`0x${tag.toString(16)} is ${name}`, () => {
      assert.equal(tagName(tag), name);
    });

  test("without a name read as numbers", () => {
    assert.equal(tagName(0x540001), "0x540001");
    assert.equal(tagIdentifier(0x420125), "0x420125");
    assert.equal(tagByName("x-custom"), undefined);
    assert.equal(tagByName("constructor"), undefined);
    assert.ok(!isKnownTag(0x420000));
  });
});

const tables = Object.entries(enumerations).flatMap(([identifier, table]) =>
  typeof table === "object" ? [[identifier, table as Readonly<Record<string, number>>] as const] : [],
);
const tagOf = (identifier: string): number => Tag[identifier as keyof typeof Tag];

describe("enumerations", () => {
  for (const [identifier, table] of tables) {
    const tag = tagOf(identifier);
    const values = Object.values(table);
    const names = isMask(tag)
      ? values.flatMap((value) => maskNames(tag, value))
      : values.map((value) => enumerationName(tag, value));
    test(`${identifier} belongs to a tag, and names each value once`, () => {
      assert.ok(isKnownTag(tag));
      assert.equal(new Set(values).size, values.length);
      assert.equal(new Set(names).size, values.length);
      for (const name of names) assert.doesNotMatch(name, /^0x|_| {2}/);
    });
  }

  // From section 9.1.3.2: values that a client of symmetric keys stands on, and the spellings that are not derived.
  for (const [tag, value, name] of [
    [Tag.Operation, 0x01, "Create"],
    [Tag.Operation, 0x04, "Re-key"],
    [Tag.Operation, 0x08, "Locate"],
    [Tag.Operation, 0x0b, "Get Attributes"],
    [Tag.Operation, 0x12, "Activate"],
    [Tag.Operation, 0x14, "Destroy"],
    [Tag.Operation, 0x18, "Query"],
    [Tag.Operation, 0x1e, "Discover Versions"],
    [Tag.Operation, 0x1f, "Encrypt"],
    [Tag.Operation, 0x20, "Decrypt"],
    [Tag.Operation, 0x23, "MAC"],
    [Tag.Operation, 0x2b, "Export"],
    [Tag.ResultStatus, 0x00, "Success"],
    [Tag.ResultStatus, 0x01, "Operation Failed"],
    [Tag.ResultReason, 0x01, "Item Not Found"],
    [Tag.ResultReason, 0x05, "Operation Not Supported"],
    [Tag.ResultReason, 0x0a, "Cryptographic Failure"],
    [Tag.ResultReason, 0x0c, "Permission Denied"],
    [Tag.ResultReason, 0x0e, "Index Out of Bounds"],
    [Tag.ResultReason, 0x18, "Object Already Exists"],
    [Tag.ResultReason, 0x100, "General Failure"],
    [Tag.ObjectType, 0x02, "Symmetric Key"],
    [Tag.State, 0x01, "Pre-Active"],
    [Tag.State, 0x06, "Destroyed Compromised"],
    [Tag.CryptographicAlgorithm, 0x02, "3DES"],
    [Tag.CryptographicAlgorithm, 0x03, "AES"],
    [Tag.CryptographicAlgorithm, 0x09, "HMAC-SHA256"],
    [Tag.CryptographicAlgorithm, 0x26, "HMAC-SHA3-512"],
    [Tag.BlockCipherMode, 0x09, "GCM"],
    [Tag.BlockCipherMode, 0x0a, "CBC-MAC"],
    [Tag.BlockCipherMode, 0x0e, "X9.102 AESKW"],
    [Tag.HashingAlgorithm, 0x06, "SHA-256"],
    [Tag.HashingAlgorithm, 0x0c, "SHA-512/224"],
    [Tag.PaddingMethod, 0x08, "PKCS1 v1.5"],
    [Tag.DigitalSignatureAlgorithm, 0x05, "SHA-256 with RSA Encryption"],
    [Tag.KeyFormatType, 0x16, "PKCS#12"],
    [Tag.KeyRoleType, 0x0b, "KEK"],
    [Tag.LinkType, 0x106, "Replacement Object Link"],
    [Tag.QueryFunction, 0x08, "Query RNGs"],
    [Tag.RevocationReasonCode, 0x06, "Cessation of Operation"],
    [Tag.RecommendedCurve, 0x07, "P-256"],
    [Tag.RecommendedCurve, 0x17, "SECP192K1"],
    [Tag.SplitKeyMethod, 0x04, "Polynomial Sharing GF (2^8)"],
    [Tag.WrappingMethod, 0x03, "Encrypt then MAC/sign"],
    [Tag.ProfileName, 0x01, "Baseline Server Basic KMIP v1.2"],
    [Tag.ProfileName, 0x26, "Intermediate Symmetric Key Foundry Client KMIP v1.2"],
    [Tag.ProfileName, 0x5d, "Symmetric Key Lifecycle Client KMIP v1.3"],
    [Tag.ProfileName, 0x9c, "XML Server KMIP v1.4"],
  ] as const)
    test(`${tagName(tag)} 0x${value.toString(16)} is ${name}`, () => {
      assert.equal(enumerationName(tag, value), name);
    });

  test("have 156 profiles, each with its own name", () => {
    assert.equal(profileNames.size, 0x9c);
    assert.equal(new Set(profileNames.values()).size, 0x9c);
  });

  test("without a name read as numbers of eight digits", () => {
    assert.equal(enumerationName(Tag.State, 7), "0x00000007");
    assert.equal(enumerationName(Tag.State, 0x8000000a), "0x8000000a");
    assert.equal(enumerationName(Tag.BatchCount, 1), "0x00000001");
  });
});

describe("masks", () => {
  for (const [value, names] of [
    [0, []],
    [0x0c, ["Encrypt", "Decrypt"]],
    [0x10_00_04, ["Encrypt", "0x00100000"]],
    [-0x8000_0000, ["0x80000000"]],
  ] as const)
    test(`the usage mask ${value} reads ${names.join(", ")}`, () => {
      assert.deepEqual(maskNames(Tag.CryptographicUsageMask, value), names);
    });

  test("are told from other Integers", () => {
    assert.ok(isMask(Tag.CryptographicUsageMask) && isMask(Tag.StorageStatusMask));
    assert.ok(!isMask(Tag.CryptographicLength));
  });
});

/** The dump: in the specification's words, and without anything that could be a secret. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Tag, tagName } from "../../../src/kmip/spec/tags.ts";
import { dumpItem } from "../../../src/kmip/ttlv/dump.ts";
import { type Item, ItemType } from "../../../src/kmip/ttlv/item.ts";
import { decodeItem } from "../../../src/kmip/ttlv/reader.ts";
import {
  bytes,
  capturedFrames,
  encryptRequest,
  enumeration,
  fromHex,
  integer,
  structure,
  text,
} from "./vectors.ts";

const attribute = (name: string, value: Item): Item =>
  structure(Tag.Attribute, text(Tag.AttributeName, name), integer(Tag.AttributeIndex, 0), value);
const dateTime = (tag: number, value: bigint): Item => ({ tag, type: ItemType.DateTime, value });

describe("a dump", () => {
  test("of a request reads in words, with its data and its nonce as lengths", () => {
    assert.equal(
      dumpItem(encryptRequest.item),
      `Request Message
  Request Header
    Protocol Version
      Protocol Version Major: 1
      Protocol Version Minor: 4
    Batch Count: 1
  Batch Item
    Operation: Encrypt
    Request Payload
      Unique Identifier: "1e2d6c1a-93a4-4a52-8a5b-3f8a0b1f0c11"
      Cryptographic Parameters
        Block Cipher Mode: GCM
      Data: <32 bytes>
      IV/Counter/Nonce: <12 bytes>`,
    );
  });

  for (const { name, item, line } of [
    {
      name: "a mask",
      item: integer(Tag.CryptographicUsageMask, 12),
      line: "Cryptographic Usage Mask: Encrypt, Decrypt",
    },
    {
      name: "an empty mask",
      item: integer(Tag.CryptographicUsageMask, 0),
      line: "Cryptographic Usage Mask: none",
    },
    {
      name: "an unknown bit",
      item: integer(Tag.StorageStatusMask, 9),
      line: "Storage Status Mask: Online Storage, 0x00000008",
    },
    {
      name: "an unknown enumeration value",
      item: enumeration(Tag.ResultReason, 0x80000001),
      line: "Result Reason: 0x80000001",
    },
    {
      name: "a Date-Time",
      item: dateTime(Tag.TimeStamp, 1_205_495_800n),
      line: "Time Stamp: 2008-03-14T11:56:40Z",
    },
    {
      name: "a Date-Time beyond the calendar",
      item: dateTime(Tag.TimeStamp, 2n ** 62n),
      line: "Time Stamp: 4611686018427387904 s since 1970",
    },
    {
      name: "an Interval",
      item: { tag: Tag.LeaseTime, type: ItemType.Interval, value: 60 },
      line: "Lease Time: 60 s",
    },
    {
      name: "a Boolean",
      item: { tag: Tag.BatchOrderOption, type: ItemType.Boolean, value: true },
      line: "Batch Order Option: true",
    },
    {
      name: "a Long Integer",
      item: { tag: Tag.UsageLimitsTotal, type: ItemType.LongInteger, value: -5n },
      line: "Usage Limits Total: -5",
    },
    {
      name: "a Unique Batch Item ID",
      item: bytes(Tag.UniqueBatchItemID, fromHex("0102")),
      line: "Unique Batch Item ID: 0x0102",
    },
    {
      name: "a public certificate, cut",
      item: bytes(Tag.CertificateValue, new Uint8Array(1000)),
      line: `Certificate Value: 0x${"00".repeat(128)}… (1000 bytes)`,
    },
    {
      name: "an unknown structure",
      item: structure(0x540001, text(0x540002, "x")),
      line: "0x540001\n  0x540002: <1 bytes>",
    },
  ] satisfies { name: string; item: Item; line: string }[])
    test(`shows ${name} in words`, () => {
      assert.equal(dumpItem(item), line);
    });

  test("reads the value of an attribute by the attribute's name", () => {
    const value = Tag.AttributeValue;
    assert.match(dumpItem(attribute("State", enumeration(value, 2))), /Attribute Value: Active$/);
    assert.match(
      dumpItem(attribute("Cryptographic Usage Mask", integer(value, 4))),
      /Attribute Value: Encrypt$/,
    );
    assert.match(dumpItem(attribute("Cryptographic Length", integer(value, 256))), /Attribute Value: 256$/);
    const name = structure(value, text(Tag.NameValue, "kek"), enumeration(Tag.NameType, 1));
    assert.match(
      dumpItem(attribute("Name", name)),
      /Name Value: "kek"\n {4}Name Type: Uninterpreted Text String$/,
    );
  });

  test("shows nothing of a plaintext that a reply echoes in a text or an identifier, and a UUID as it is", () => {
    const seed = Buffer.alloc(32, 0x2a);
    const uuid = "0b2c4a5e-1111-4222-8333-944444444444";
    const echoes = [
      ...["hex", "base64"].map((spelling) => seed.toString(spelling as "hex" | "base64")),
      seed.toString("latin1"),
    ];
    const fields = [
      Tag.UniqueIdentifier,
      Tag.ResultMessage,
      Tag.ServerCorrelationValue,
      Tag.VendorIdentification,
    ];
    const items = echoes.flatMap((echo) => fields.map((tag) => text(tag, echo)));
    const ids = [Tag.UniqueBatchItemID, Tag.AsynchronousCorrelationValue].map((tag) => bytes(tag, seed));
    const reply = structure(Tag.ResponseMessage, ...items, ...ids, text(Tag.UniqueIdentifier, uuid));
    const dump = dumpItem(reply);
    for (const echo of echoes) assert.ok(!dump.includes(echo), dump);
    assert.match(dump, new RegExp(`Unique Identifier: "${uuid}"$`));
  });

  test("cannot be made to forge a line, or to turn its text around", () => {
    const dump = dumpItem(text(Tag.VendorIdentification, 'a"\nOperation: Get\r\u2028\u202E\u0085'));
    assert.equal(dump, String.raw`Vendor Identification: "a\"\nOperation: Get\r\u2028\u202e\u0085"`);
  });

  test("cuts a long text, and itself", () => {
    assert.ok(dumpItem(text(Tag.ResultMessage, "x".repeat(10_000))).length < 300);
    const long = structure(
      Tag.ResponseMessage,
      ...Array.from({ length: 10_000 }, () => integer(Tag.BatchCount, 1)),
    );
    assert.equal(dumpItem(long, { maxChars: 100 }).length, 101);
    assert.ok(dumpItem(long).length <= (1 << 16) + 1);
  });

  test("ends, for an item that holds itself", () => {
    const items: Item[] = [];
    items.push(structure(Tag.BatchItem, ...items));
    const endless = { tag: Tag.RequestMessage, type: ItemType.Structure, value: items } as const;
    items[0] = endless;
    const lines = dumpItem(endless).split("\n");
    assert.equal(lines.length, 34);
    assert.match(lines.at(-1) ?? "", /^ +…$/);
  });
});

const secret = "s3cr3t-value";
const secretBytes = new Uint8Array(Buffer.from(secret));
const secretNumber = 0x73337233;

/** Every way in which a message carries what nobody else may see. */
const secretive: readonly { readonly name: string; readonly item: Item }[] = [
  ...[
    Tag.Data,
    Tag.IVCounterNonce,
    Tag.AuthenticatedEncryptionTag,
    Tag.AuthenticatedEncryptionAdditionalData,
    Tag.KeyMaterial,
    Tag.KeyValue,
    Tag.Password,
    Tag.Username,
    Tag.SignatureData,
    Tag.MACData,
    Tag.NonceValue,
    Tag.OpaqueDataValue,
    Tag.DerivationData,
    Tag.Salt,
    Tag.DigestValue,
    Tag.AttributeValue,
    0x420fff,
    0x540001,
  ].map((tag) => ({ name: `a Byte String under 0x${tag.toString(16)}`, item: bytes(tag, secretBytes) })),
  { name: "a text under Data", item: text(Tag.Data, secret) },
  {
    name: "a Big Integer",
    item: { tag: Tag.Modulus, type: ItemType.BigInteger, value: Buffer.from("s3cr3t-v") },
  },
  {
    name: "a Key Block",
    item: structure(
      Tag.KeyBlock,
      enumeration(Tag.KeyFormatType, 1),
      structure(Tag.KeyValue, bytes(Tag.KeyMaterial, secretBytes), text(Tag.NameValue, secret)),
    ),
  },
  {
    name: "a Credential of name and password",
    item: structure(
      Tag.Credential,
      enumeration(Tag.CredentialType, 1),
      structure(Tag.CredentialValue, text(Tag.Username, secret), text(Tag.Password, secret)),
    ),
  },
  {
    name: "a Credential of another shape",
    item: structure(
      Tag.Authentication,
      structure(Tag.Credential, text(Tag.DeviceIdentifier, secret), integer(Tag.Offset, secretNumber)),
    ),
  },
  { name: "a text under an extension", item: text(0x540001, secret) },
  { name: "an Integer under an extension", item: structure(0x540001, integer(Tag.BatchCount, secretNumber)) },
  {
    name: "a vendor's extension",
    item: structure(Tag.MessageExtension, structure(Tag.VendorExtension, text(Tag.NameValue, secret))),
  },
  { name: "a custom attribute's text", item: attribute("x-token", text(Tag.AttributeValue, secret)) },
  {
    name: "a custom attribute's Integer",
    item: attribute("x-pin", integer(Tag.AttributeValue, secretNumber)),
  },
  {
    name: "a custom attribute's Structure",
    item: attribute("y-any", structure(Tag.AttributeValue, text(Tag.NameValue, secret))),
  },
  { name: "an Attribute without a name", item: structure(Tag.Attribute, text(Tag.AttributeValue, secret)) },
];

describe("a dump shows the length, and nothing else, of", () => {
  const hex = Buffer.from(secret).toString("hex").slice(0, 16);
  for (const { name, item } of secretive)
    test(name, () => {
      const dump = dumpItem(structure(Tag.RequestMessage, item));
      assert.match(dump, /<\d+ bytes>/);
      assert.doesNotMatch(dump, new RegExp(`s3cr3t|${hex}|${secretNumber}`, "i"));
    });
});

describe("a dump seals whole", () => {
  for (const tag of [Tag.KeyBlock, Tag.KeyValue, Tag.KeyMaterial, Tag.CredentialValue, Tag.VendorExtension])
    test(`a Structure under ${tagName(tag)}, with the types and the number of its items`, () => {
      const item = structure(tag, enumeration(Tag.KeyFormatType, 1), text(Tag.NameValue, secret));
      assert.equal(dumpItem(item), `${tagName(tag)}: <40 bytes>`);
    });

  for (const tag of [Tag.Username, Tag.Password, Tag.Data, Tag.KeyMaterial, Tag.PrivateExponent])
    test(`a text under ${tagName(tag)}, wherever it is`, () => {
      assert.equal(dumpItem(text(tag, secret)), `${tagName(tag)}: <12 bytes>`);
    });
});

describe("every captured frame", () => {
  for (const { name, hex } of capturedFrames())
    test(`${name} reads in words alone`, () => {
      const dump = dumpItem(decodeItem(fromHex(hex)));
      assert.match(dump, /^(Request|Response) Message\n/);
      assert.doesNotMatch(dump, /^ *0x/m, "a tag without a name");
      assert.doesNotMatch(
        dump,
        /(Operation|Result Status|Result Reason|Object Type|State): 0x/,
        "a value without a name",
      );
    });
});

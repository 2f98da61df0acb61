/** What a value says of itself: every prefix, whole, cut at every length, and random bytes. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { EncryptedObjectSchema } from "../../gen/k8s/v1/storage_pb.ts";
import { dekSourceOf, parseEnvelope } from "../../src/etcd/envelope.ts";

const name = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,40}$/);
const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 });
const annotations = fc.dictionary(fc.stringMatching(/^[a-z]{1,10}\.[a-z]{1,10}$/), bytes, { maxKeys: 4 });
const object = fc.record({
  encryptedData: bytes,
  keyId: fc.string({ minLength: 1, maxLength: 64 }).filter((text) => text.isWellFormed()),
  encryptedDekSource: bytes,
  annotations,
  encryptedDekSourceType: fc.integer({ min: 0, max: 1 }),
});

function valueOf(provider: string, init: Parameters<typeof create<typeof EncryptedObjectSchema>>[1]): Buffer {
  const body = toBinary(EncryptedObjectSchema, create(EncryptedObjectSchema, init));
  return Buffer.concat([Buffer.from(`k8s:enc:kms:v2:${provider}:`), body]);
}

describe("parseEnvelope", () => {
  test("gives back provider, key_id and all else of what was written under KMS v2", () => {
    fc.assert(
      fc.property(name, object, (provider, init) => {
        const envelope = parseEnvelope(valueOf(provider, init));
        assert.ok(envelope.kind === "kms-v2");
        assert.equal(envelope.provider, provider);
        assert.equal(envelope.object.keyId, init.keyId);
        assert.deepEqual(Buffer.from(envelope.object.encryptedData), Buffer.from(init.encryptedData));
        assert.equal(envelope.dekSource, dekSourceOf(create(EncryptedObjectSchema, init)));
      }),
    );
  });

  test("never takes a value that was cut for one under another provider, or for plaintext", () => {
    fc.assert(
      fc.property(name, object, fc.nat(), (provider, init, seed) => {
        const value = valueOf(provider, init);
        const cut = value.subarray(0, 1 + (seed % (value.length - 1)));
        const envelope = parseEnvelope(cut);
        // Cut at the end of a field it may still be whole; the tag tells then.
        if (envelope.kind === "kms-v2") assert.equal(envelope.provider, provider);
        else assert.equal(envelope.kind, "unknown");
      }),
    );
  });

  test("takes any bytes", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (value) => void parseEnvelope(value)));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (body) => {
        const envelope = parseEnvelope(Buffer.concat([Buffer.from("k8s:enc:kms:v2:okms:"), body]));
        assert.ok(envelope.kind === "kms-v2" || envelope.kind === "unknown");
      }),
    );
  });

  for (const [text, kind, provider] of [
    ["k8s:enc:kms:v1:old-kms:x", "kms-v1", "old-kms"],
    ["k8s:enc:aescbc:v1:key1:x", "aescbc", "key1"],
    ["k8s:enc:aesgcm:v1:key1:x", "aesgcm", "key1"],
    ["k8s:enc:secretbox:v1:key 1:x", "secretbox", "key 1"],
  ] as const)
    test(`knows ${text}`, () => {
      assert.deepEqual(parseEnvelope(Buffer.from(text)), { kind, provider });
    });

  for (const [text, encoding] of [
    ["k8s\0anything", "protobuf"],
    ['{"kind":"Widget"}\n', "json"],
  ] as const)
    test(`knows plaintext as ${encoding}`, () => {
      assert.deepEqual(parseEnvelope(Buffer.from(text)), { kind: "plaintext", encoding });
    });

  for (const text of [
    "",
    "k8s:enc:",
    "k8s:enc:kms:v2:okms",
    "k8s:enc:kms:v2:okms:",
    "k8s:enc:new:v9:x:y",
    "hello",
  ])
    test(`does not understand ${JSON.stringify(text)}`, () => {
      assert.equal(parseEnvelope(Buffer.from(text)).kind, "unknown");
    });
});

describe("A DEK source", () => {
  test("is known by the wrapped source, key_id and annotations together, whatever their order", () => {
    const base = { encryptedDekSource: Buffer.from("seed"), keyId: "a", encryptedData: Buffer.of(1) };
    const one = { "a.b": Buffer.of(1), "c.d": Buffer.of(2) };
    const id = (change: object): string =>
      dekSourceOf(create(EncryptedObjectSchema, { ...base, annotations: one, ...change }));
    assert.equal(
      id({}),
      id({ annotations: { "c.d": Buffer.of(2), "a.b": Buffer.of(1) }, encryptedData: Buffer.of(9) }),
    );
    const others = [
      { keyId: "b" },
      { encryptedDekSource: Buffer.from("seeD") },
      { annotations: { "a.b": Buffer.of(1) } },
      { annotations: { "a.b": Buffer.of(2), "c.d": Buffer.of(1) } },
    ].map(id);
    assert.equal(new Set([id({}), ...others]).size, 5);
  });
});

/**
 * Every operation against messages that PyKMIP wrote, in each version of KMIP that PyKMIP and the operation know:
 * what is read from them, and that writing the same gives the same bytes.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KmipResultError } from "../../../src/errors.ts";
import { type Attribute, attribute, attributeValue, isAttributeName } from "../../../src/kmip/attributes.ts";
import { payloadOf } from "../../../src/kmip/batch.ts";
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse } from "../../../src/kmip/messages.ts";
import { type OperationDefinition, operations } from "../../../src/kmip/operations/index.ts";
import { enumerationName } from "../../../src/kmip/spec/enumerations.ts";
import { Tag } from "../../../src/kmip/spec/tags.ts";
import { parseVersion, type ProtocolVersion } from "../../../src/kmip/version.ts";
import { fromHex, type OperationVector, type Plain, readVectors, toHex } from "./vectors.ts";

type AnyOperation = OperationDefinition<unknown, unknown, unknown, unknown>;

/** PyKMIP has no Add Attribute; its messages differ from Modify Attribute's in the operation's number alone. */
function vectorsOf(name: string): readonly OperationVector[] {
  if (name !== "Add Attribute") return readVectors(name.toLowerCase().replaceAll(" ", "-"));
  return vectorsOf("Modify Attribute").map((vector) => ({
    ...vector,
    hex: vector.hex.replace("42005c05000000040000000e", "42005c05000000040000000d"),
  }));
}

function revive(plain: Plain, version: ProtocolVersion): unknown {
  if (Array.isArray(plain)) return plain.map((one) => revive(one, version));
  if (plain === null || typeof plain !== "object") return plain;
  if (typeof plain["hex"] === "string") return fromHex(plain["hex"]);
  if (typeof plain["seconds"] === "string") return BigInt(plain["seconds"]);
  const { name, value, index } = plain;
  if (typeof name === "string" && value !== undefined) {
    assert.ok(isAttributeName(name), `${name} is no attribute that is understood`);
    return attribute(name, revive(value, version) as never, version, index as number | undefined);
  }
  return Object.fromEntries(Object.entries(plain).map(([key, one]) => [key, revive(one, version)]));
}

for (const definition of operations as readonly unknown[] as readonly AnyOperation[])
  describe(definition.name, () => {
    for (const vector of vectorsOf(definition.name)) {
      const version = parseVersion(vector.version);
      const title = `KMIP ${vector.version} ${vector.kind}${vector.says === undefined ? "" : ` ${vector.says}`}`;

      if (vector.kind === "request")
        test(`${title}: reads what PyKMIP wrote, and writes the same bytes`, () => {
          const message = decodeRequest(fromHex(vector.hex));
          const [item] = message.items;
          assert.ok(item !== undefined && message.items.length === 1);
          assert.equal(item.operation, definition.operation);
          const expected = revive(vector.payload ?? null, version);
          assert.deepEqual(definition.request.decodeItems(item.payload, "Request"), expected);
          const payload = definition.request.encodeItems(expected, version);
          assert.equal(toHex(encodeRequest({ ...message, items: [{ ...item, payload }] })), vector.hex);
        });

      if (vector.kind === "response" && vector.payload !== undefined)
        test(`${title}: reads what PyKMIP answered, and writes the same bytes`, () => {
          const message = decodeResponse(fromHex(vector.hex));
          const [item] = message.items;
          assert.ok(item !== undefined);
          const request = { version, items: [{ operation: definition.operation, payload: [] }] };
          const expected = revive(vector.payload ?? null, version);
          assert.deepEqual(payloadOf(message, request, 0, definition), expected);
          const payload = definition.response.encodeItems(expected, version);
          assert.equal(toHex(encodeResponse({ ...message, items: [{ ...item, payload }] })), vector.hex);
        });

      const { failure } = vector;
      if (failure !== undefined)
        test(`${title}: throws PyKMIP's refusal by its specification name`, () => {
          const message = decodeResponse(fromHex(vector.hex));
          const request = { version, items: [{ operation: definition.operation, payload: [] }] };
          assert.throws(
            () => payloadOf(message, request, 0, definition),
            (error) =>
              error instanceof KmipResultError &&
              error.operation === definition.name &&
              error.reason === enumerationName(Tag.ResultReason, failure.reason) &&
              error.resultMessage === failure.message,
          );
          assert.equal(toHex(encodeResponse(message)), vector.hex);
        });
    }
  });

test("a key's attributes in a captured reply have the types of the specification", () => {
  const vector = readVectors<OperationVector>("get-attributes").find(
    ({ version, kind }) => version === "1.4" && kind === "response",
  );
  const [item] = decodeResponse(fromHex(vector?.hex ?? "")).items;
  const definition = operations.find(({ name }) => name === "Get Attributes");
  const payload = definition?.response.decodeItems(item?.payload ?? [], "") as { attributes: Attribute[] };
  assert.deepEqual(attributeValue(payload.attributes, "Name"), { value: "key of 1.4", type: 1 });
  assert.equal(attributeValue(payload.attributes, "State"), 2);
  assert.equal(attributeValue(payload.attributes, "Cryptographic Length"), 256);
  assert.equal(attributeValue(payload.attributes, "Cryptographic Usage Mask"), 12);
  assert.equal(attributeValue(payload.attributes, "Operation Policy Name"), "default");
  assert.equal(typeof attributeValue(payload.attributes, "Initial Date"), "bigint");
  assert.equal(attributeValue(payload.attributes, "Comment"), undefined);
});

/** Request and Response Message: headers, batch items, and what is refused of them. Captures are PyKMIP's. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { ProviderError, TtlvError } from "../../../src/errors.ts";
import {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  type RequestMessage,
  type ResponseMessage,
} from "../../../src/kmip/messages.ts";
import {
  BatchErrorContinuationOption,
  Operation,
  ResultStatus,
} from "../../../src/kmip/spec/enumerations.ts";
import { Tag } from "../../../src/kmip/spec/tags.ts";
import { type Item, ItemType } from "../../../src/kmip/ttlv/item.ts";
import { decodeItem } from "../../../src/kmip/ttlv/reader.ts";
import { encodeItem } from "../../../src/kmip/ttlv/writer.ts";
import { parseVersion } from "../../../src/kmip/version.ts";
import { fromHex, type MessageVector, readVectors, toHex } from "../operations/vectors.ts";

const newest = parseVersion("1.4");
const query = { operation: Operation.Query, payload: [] };

for (const { version, says, request, response } of readVectors<MessageVector>("messages"))
  describe(`a batch of two in KMIP ${version}, ${says}`, () => {
    test("the request reads, and writes back to the same bytes", () => {
      const message = decodeRequest(fromHex(request));
      assert.deepEqual(message.version, parseVersion(version));
      assert.equal(message.items.length, 2);
      if (says !== "refused as a whole") assert.equal(toHex(encodeRequest(message)), request);
    });

    test("the response reads, and writes back to the same bytes", () => {
      const message = decodeResponse(fromHex(response));
      assert.deepEqual(message.version, parseVersion(version));
      assert.equal(toHex(encodeResponse(message)), response);
    });
  });

const fullRequest: RequestMessage = {
  version: newest,
  maximumResponseSize: 65536,
  clientCorrelationValue: "client",
  serverCorrelationValue: "server",
  asynchronousIndicator: false,
  attestationCapableIndicator: false,
  attestationTypes: [1, 2],
  authentication: [{ tag: Tag.Credential, type: ItemType.Structure, value: [] }],
  batchErrorContinuationOption: BatchErrorContinuationOption.Stop,
  batchOrderOption: true,
  timeStamp: 1n,
  items: [
    {
      operation: Operation.Query,
      uniqueBatchItemId: Uint8Array.of(7),
      payload: [{ tag: Tag.QueryFunction, type: ItemType.Enumeration, value: 1 }],
      messageExtension: { vendorIdentification: "v", criticalityIndicator: false, vendorExtension: [] },
    },
  ],
};
const fullResponse: ResponseMessage = {
  version: newest,
  timeStamp: 1n,
  nonce: [],
  attestationTypes: [3],
  clientCorrelationValue: "client",
  serverCorrelationValue: "server",
  items: [
    {
      operation: Operation.Query,
      uniqueBatchItemId: Uint8Array.of(7),
      resultStatus: ResultStatus.OperationPending,
      resultReason: 0x100,
      resultMessage: "words",
      asynchronousCorrelationValue: Uint8Array.of(8),
      payload: [],
      messageExtension: { vendorIdentification: "v", criticalityIndicator: true, vendorExtension: [] },
    },
  ],
};

function tagsOf(message: Uint8Array): number[] {
  const root = decodeItem(message);
  const header = root.type === ItemType.Structure ? root.value[0] : undefined;
  assert.ok(header !== undefined && header.type === ItemType.Structure);
  return header.value.map(({ tag }) => tag);
}

describe("headers", () => {
  test("a request with every field reads as it was written", () => {
    assert.deepEqual(decodeRequest(encodeRequest(fullRequest)), fullRequest);
  });

  test("a response with every field reads as it was written", () => {
    assert.deepEqual(decodeResponse(encodeResponse(fullResponse)), fullResponse);
  });

  test("the fields of a request stand in the specification's order", () => {
    assert.deepEqual(tagsOf(encodeRequest(fullRequest)), [
      Tag.ProtocolVersion,
      Tag.MaximumResponseSize,
      Tag.ClientCorrelationValue,
      Tag.ServerCorrelationValue,
      Tag.AsynchronousIndicator,
      Tag.AttestationCapableIndicator,
      Tag.AttestationType,
      Tag.AttestationType,
      Tag.Authentication,
      Tag.BatchErrorContinuationOption,
      Tag.BatchOrderOption,
      Tag.TimeStamp,
      Tag.BatchCount,
    ]);
  });

  test("the fields of a response stand in the specification's order", () => {
    assert.deepEqual(tagsOf(encodeResponse(fullResponse)), [
      Tag.ProtocolVersion,
      Tag.TimeStamp,
      Tag.Nonce,
      Tag.AttestationType,
      Tag.ClientCorrelationValue,
      Tag.ServerCorrelationValue,
      Tag.BatchCount,
    ]);
  });

  test("a field of a newer version is not sent to an older one", () => {
    const message = { version: parseVersion("1.3"), clientCorrelationValue: "x", items: [query] };
    assert.throws(() => encodeRequest(message), { code: "KMIP_VERSION" });
    const response = { version: parseVersion("1.1"), timeStamp: 0n, nonce: [], items: [] };
    assert.throws(() => encodeResponse(response), { code: "KMIP_VERSION" });
  });

  test("a request of a version that is not supported reads, so that it can be refused", () => {
    const message = encodeRequest({ version: { major: 2, minor: 1 }, items: [query] });
    assert.deepEqual(decodeRequest(message).version, { major: 2, minor: 1 });
  });
});

describe("batch items", () => {
  test("an unknown operation reads with the items of its payload", () => {
    const payload: Item[] = [{ tag: 0x540001, type: ItemType.Integer, value: 1 }];
    const bytes = encodeRequest({ version: newest, items: [{ operation: 0x8000_0001, payload }] });
    assert.deepEqual(decodeRequest(bytes).items, [{ operation: 0x8000_0001, payload }]);
  });

  test("several batch items without Unique Batch Item IDs are not sent", () => {
    assert.throws(() => encodeRequest({ version: newest, items: [query, query] }), {
      code: "KMIP_UNEXPECTED",
    });
  });
});

/** A message with `change` done to the items in it, or in its header. */
function changed(
  message: Uint8Array,
  where: "message" | "header",
  change: (items: Item[]) => Item[],
): Uint8Array {
  const root = decodeItem(message);
  assert.ok(root.type === ItemType.Structure);
  if (where === "message") return encodeItem({ ...root, value: change([...root.value]) });
  const [header, ...rest] = root.value;
  assert.ok(header !== undefined && header.type === ItemType.Structure);
  return encodeItem({ ...root, value: [{ ...header, value: change([...header.value]) }, ...rest] });
}
const without = (tag: number) => (items: Item[]) => items.filter((item) => item.tag !== tag);
const retagged = (from: number, to: Item) => (items: Item[]) =>
  items.map((item) => (item.tag === from ? to : item));

const request = encodeRequest({ version: newest, items: [query] });
const response = encodeResponse({ ...fullResponse, items: fullResponse.items });
const count = (value: number): Item => ({ tag: Tag.BatchCount, type: ItemType.Integer, value });

const malformed: readonly [says: string, read: () => unknown, complaint: RegExp][] = [
  [
    "a response in place of a request",
    () => decodeRequest(response),
    /^ResponseMessage: is not a RequestMessage/,
  ],
  [
    "a request in place of a response",
    () => decodeResponse(request),
    /^RequestMessage: is not a ResponseMessage/,
  ],
  [
    "a message that is no structure",
    () => decodeResponse({ tag: Tag.ResponseMessage, type: ItemType.Integer, value: 1 }),
    /^ResponseMessage: is not a ResponseMessage Structure/,
  ],
  [
    "no header",
    () => decodeResponse(changed(response, "message", without(Tag.ResponseHeader))),
    /^ResponseMessage\/ResponseHeader: is missing$/,
  ],
  [
    "two headers",
    () => decodeResponse(changed(response, "message", (items) => [...items, ...items.slice(0, 1)])),
    /ResponseHeader: appears twice$/,
  ],
  [
    "no Protocol Version",
    () => decodeResponse(changed(response, "header", without(Tag.ProtocolVersion))),
    /^ResponseMessage\/ResponseHeader\/ProtocolVersion: is missing$/,
  ],
  [
    "no Batch Count",
    () => decodeRequest(changed(request, "header", without(Tag.BatchCount))),
    /BatchCount: is missing$/,
  ],
  [
    "a Batch Count of 2 with one batch item",
    () => decodeResponse(changed(response, "header", retagged(Tag.BatchCount, count(2)))),
    /^ResponseMessage\/BatchCount: is 2, and there are 1 batch items$/,
  ],
  [
    "a Batch Count of -1",
    () => decodeRequest(changed(request, "header", retagged(Tag.BatchCount, count(-1)))),
    /BatchCount: is -1,/,
  ],
  [
    "a Batch Count of 1 without a batch item",
    () => decodeResponse(changed(response, "message", without(Tag.BatchItem))),
    /is 1, and there are 0 batch items$/,
  ],
  [
    "a Batch Item that is no structure",
    () =>
      decodeResponse(
        changed(
          response,
          "message",
          retagged(Tag.BatchItem, { tag: Tag.BatchItem, type: ItemType.Integer, value: 1 }),
        ),
      ),
    /^ResponseMessage\/BatchItem\[0\]: is of type Integer, not Structure$/,
  ],
  [
    "a Batch Item of a response without a Result Status",
    () =>
      decodeResponse(
        changed(
          response,
          "message",
          retagged(Tag.BatchItem, { tag: Tag.BatchItem, type: ItemType.Structure, value: [] }),
        ),
      ),
    /^ResponseMessage\/BatchItem\[0\]\/ResultStatus: is missing$/,
  ],
  [
    "a Batch Item of a request without an Operation",
    () =>
      decodeRequest(
        changed(
          request,
          "message",
          retagged(Tag.BatchItem, { tag: Tag.BatchItem, type: ItemType.Structure, value: [] }),
        ),
      ),
    /^RequestMessage\/BatchItem\[0\]\/Operation: is missing$/,
  ],
];

describe("a malformed message is refused:", () => {
  for (const [says, read, complaint] of malformed)
    test(says, () => {
      assert.throws(
        read,
        (error) =>
          error instanceof ProviderError && error.code === "KMIP_UNEXPECTED" && complaint.test(error.message),
      );
    });

  test("a message cut short at any length raises TtlvError", () => {
    for (let length = 0; length < response.length; length += 1)
      assert.throws(() => decodeResponse(response.subarray(0, length)), TtlvError);
  });

  test("a message with any one byte changed reads, or raises what a peer's fault raises", () => {
    const codes = /^(TTLV_|KMIP_UNEXPECTED$)/;
    fc.assert(
      fc.property(fc.nat({ max: response.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bytes = Uint8Array.from(response);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        try {
          decodeResponse(bytes);
        } catch (error) {
          assert.ok(error instanceof ProviderError && codes.test(error.code), String(error));
        }
      }),
      { numRuns: 2000 },
    );
  });
});

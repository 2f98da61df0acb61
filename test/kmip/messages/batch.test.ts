/** What a response holds for each operation of its request, and every way in which it can fail to. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KmipResultError, ProviderError } from "../../../src/errors.ts";
import { call, createRequest, failureItem, payloadOf, successItem } from "../../../src/kmip/batch.ts";
import {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  type RequestItem,
  type ResponseItem,
  type ResponseMessage,
} from "../../../src/kmip/messages.ts";
import {
  discoverVersionsOperation,
  encryptOperation,
  getAttributesOperation,
  locateOperation,
  type OperationDefinition,
} from "../../../src/kmip/operations/index.ts";
import { Operation, ResultReason, ResultStatus } from "../../../src/kmip/spec/enumerations.ts";
import { parseVersion } from "../../../src/kmip/version.ts";
import { fromHex, type MessageVector, readVectors } from "../operations/vectors.ts";

const newest = parseVersion("1.4");
const single = createRequest(newest, [call(locateOperation, {})]);
const pair = createRequest(newest, [call(locateOperation, {}), call(getAttributesOperation, {})]);
const [locateItem, getAttributesItem] = pair.items as readonly [RequestItem, RequestItem];

const located = successItem(locateItem, locateOperation, { uniqueIdentifiers: ["a"] }, newest);
const told = successItem(getAttributesItem, getAttributesOperation, { uniqueIdentifier: "a" }, newest);
const answer = (...items: ResponseItem[]): ResponseMessage => ({ version: newest, timeStamp: 0n, items });
const answerToSingle = (change: Partial<ResponseItem> = {}): ResponseMessage =>
  answer({
    ...successItem(single.items[0] as RequestItem, locateOperation, { uniqueIdentifiers: ["a"] }, newest),
    ...change,
  });

function unexpectedly(complaint: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof ProviderError && error.code === "KMIP_UNEXPECTED" && complaint.test(error.message);
}
function refused(operation: string, reason: string, message = ""): (error: unknown) => boolean {
  return (error) =>
    error instanceof KmipResultError &&
    error.operation === operation &&
    error.reason === reason &&
    error.resultMessage === message &&
    !error.retryable;
}

describe("building a request", () => {
  test("each item of each request gets a Unique Batch Item ID of its own", () => {
    const requests = Array.from({ length: 10 }, () => createRequest(newest, [call(locateOperation, {})]));
    const ids = [...requests, single, pair].flatMap(({ items }) =>
      items.map(({ uniqueBatchItemId }) => Buffer.from(uniqueBatchItemId ?? []).toString("hex")),
    );
    assert.equal(new Set(ids).size, 13);
    for (const id of ids) assert.match(id, /^[\da-f]{16}$/);
  });

  test("no two of many have the same ID", () => {
    const { items } = createRequest(
      newest,
      Array.from({ length: 1000 }, () => call(locateOperation, {})),
    );
    const ids = items.map(({ uniqueBatchItemId }) => Buffer.from(uniqueBatchItemId ?? []).toString("hex"));
    assert.equal(new Set(ids).size, 1000);
  });

  test("options reach the header", () => {
    const request = createRequest(newest, [call(locateOperation, {})], { maximumResponseSize: 1024 });
    assert.equal(decodeRequest(encodeRequest(request)).maximumResponseSize, 1024);
  });

  test("a call with a field newer than the version is not built", () => {
    const asked = call(encryptOperation, {
      data: new Uint8Array(1),
      authenticatedEncryptionAdditionalData: new Uint8Array(1),
    });
    assert.equal(createRequest(newest, [asked]).items.length, 1);
    assert.throws(() => createRequest(parseVersion("1.2"), [asked]), { code: "KMIP_VERSION" });
  });
});

describe("one operation", () => {
  test("is answered by the one item, through bytes and back", () => {
    const response = decodeResponse(encodeResponse(answerToSingle()));
    assert.deepEqual(payloadOf(response, single, 0, locateOperation), { uniqueIdentifiers: ["a"] });
  });

  test("is not answered by the item of another request: replies that have slipped are noticed", () => {
    const another = createRequest(newest, [call(locateOperation, {})]);
    assert.throws(
      () => payloadOf(answerToSingle(), another, 0, locateOperation),
      unexpectedly(/UniqueBatchItemID: is not/),
    );
  });

  test("may be answered without its ID", () => {
    const { uniqueBatchItemId: _, ...nameless } = answerToSingle().items[0] as ResponseItem;
    assert.deepEqual(payloadOf(answer(nameless), single, 0, locateOperation).uniqueIdentifiers, ["a"]);
  });

  test("is not answered by nothing", () => {
    assert.throws(
      () => payloadOf(answer(), single, 0, locateOperation),
      unexpectedly(/BatchItem\[0\]: is missing$/),
    );
  });

  test("is not answered by two items", () => {
    assert.throws(
      () => payloadOf(answer(located, told), single, 0, locateOperation),
      unexpectedly(/BatchItem: appears 2 times for 1 requested$/),
    );
  });

  test("is not answered by another operation", () => {
    assert.throws(
      () => payloadOf(answerToSingle({ operation: Operation.Get }), single, 0, locateOperation),
      unexpectedly(/Operation: is Get, not Locate$/),
    );
  });

  test("is not answered by another operation's failure", () => {
    const response = answer({
      ...failureItem(single.items[0], ResultReason.ItemNotFound, ""),
      operation: Operation.Get,
    });
    assert.throws(() => payloadOf(response, single, 0, locateOperation), unexpectedly(/is Get, not Locate$/));
  });

  test("is not answered by a success that names no operation", () => {
    const { operation: _, ...nameless } = answerToSingle().items[0] as ResponseItem;
    assert.throws(
      () => payloadOf(answer(nameless), single, 0, locateOperation),
      unexpectedly(/Operation: is missing, not Locate$/),
    );
  });

  test("is not answered by one that is pending", () => {
    assert.throws(
      () =>
        payloadOf(
          answerToSingle({ resultStatus: ResultStatus.OperationPending }),
          single,
          0,
          locateOperation,
        ),
      unexpectedly(/ResultStatus: is Operation Pending$/),
    );
  });

  test("is not answered by a status that nobody knows", () => {
    assert.throws(
      () => payloadOf(answerToSingle({ resultStatus: 0x80000001 }), single, 0, locateOperation),
      unexpectedly(/ResultStatus: is 0x80000001$/),
    );
  });

  test("is not answered by a success without what it must hold", () => {
    const asked = createRequest(newest, [call(encryptOperation, { data: new Uint8Array(1) })]);
    const empty = { operation: Operation.Encrypt, resultStatus: ResultStatus.Success };
    assert.throws(
      () => payloadOf(answer(empty), asked, 0, encryptOperation),
      unexpectedly(/^ResponseMessage\/BatchItem\[0\]\/ResponsePayload\/Data: is missing$/),
    );
  });

  test("is answered by its item whatever the version in the header: some servers put 2.x there", () => {
    const response = { ...answerToSingle(), version: { major: 2, minor: 0 } };
    assert.deepEqual(payloadOf(response, single, 0, locateOperation).uniqueIdentifiers, ["a"]);
  });

  test("is not answered with a critical extension that nobody here understands", () => {
    const extension = { vendorIdentification: "v", vendorExtension: [] };
    const critical = answerToSingle({ messageExtension: { ...extension, criticalityIndicator: true } });
    assert.throws(
      () => payloadOf(critical, single, 0, locateOperation),
      unexpectedly(/MessageExtension: is critical/),
    );
    for (const harmless of [extension, { ...extension, criticalityIndicator: false }]) {
      const response = answerToSingle({ messageExtension: harmless });
      assert.deepEqual(payloadOf(response, single, 0, locateOperation).uniqueIdentifiers, ["a"]);
    }
  });
});

describe("a refusal", () => {
  test("carries the reason by its specification name, and the server's words", () => {
    const response = answer(failureItem(single.items[0], ResultReason.PermissionDenied, "not yours"));
    assert.throws(
      () => payloadOf(response, single, 0, locateOperation),
      refused("Locate", "Permission Denied", "not yours"),
    );
  });

  test("without an operation, as of a message that could not be read, is the operation's own", () => {
    const response = answer(failureItem(undefined, ResultReason.InvalidMessage, "what?"));
    assert.throws(
      () => payloadOf(response, single, 0, locateOperation),
      refused("Locate", "Invalid Message", "what?"),
    );
  });

  test("without a reason is a General Failure, and is not tried again", () => {
    const response = answer({ operation: Operation.Locate, resultStatus: ResultStatus.OperationFailed });
    assert.throws(
      () => payloadOf(response, single, 0, locateOperation),
      refused("Locate", "General Failure"),
    );
  });

  test("for a reason that nobody knows carries its number", () => {
    const response = answer(failureItem(single.items[0], 0x80000042, ""));
    assert.throws(() => payloadOf(response, single, 0, locateOperation), refused("Locate", "0x80000042"));
  });

  test("of an undone operation is a refusal", () => {
    const response = answerToSingle({ resultStatus: ResultStatus.OperationUndone });
    assert.throws(
      () => payloadOf(response, single, 0, locateOperation),
      refused("Locate", "General Failure"),
    );
  });

  test("in another major version is still a refusal, for so a server says that it does not know the version", () => {
    const response = {
      ...answer(failureItem(undefined, ResultReason.InvalidMessage, "")),
      version: { major: 2, minor: 0 },
    };
    assert.throws(
      () => payloadOf(response, single, 0, locateOperation),
      refused("Locate", "Invalid Message"),
    );
  });

  test("says nothing of what the server quotes of the request", () => {
    const plaintext = Buffer.from("a seed of thirty-two characters!").toString("hex");
    const response = answer(
      failureItem(single.items[0], ResultReason.InvalidField, `bad data 0x${plaintext}`),
    );
    assert.throws(() => payloadOf(response, single, 0, locateOperation), {
      resultMessage: "bad data [66 characters]",
    });
  });

  test("shows the names and identifiers that the request sent", () => {
    const asked = createRequest(newest, [call(getAttributesOperation, { uniqueIdentifier: "kek-7" })]);
    const words = "GetAttributes: no object kek-7, nor 7-kek, in KMIP 1.4";
    const response = answer(failureItem(asked.items[0], ResultReason.ItemNotFound, words));
    assert.throws(() => payloadOf(response, asked, 0, getAttributesOperation), {
      resultMessage: "GetAttributes: no object kek-7, nor [5 characters], in KMIP 1.4",
    });
  });

  test("keeps the server's words on one line and at most 256 characters", () => {
    const words = `one\r\n\u001b[two\u2028three\u202e ${"not ".repeat(1000)}`;
    const response = answer(failureItem(single.items[0], ResultReason.GeneralFailure, words));
    assert.throws(
      () => payloadOf(response, single, 0, locateOperation),
      (error) =>
        error instanceof KmipResultError &&
        error.resultMessage.startsWith("one [two three  not not") &&
        error.resultMessage.length <= 256,
    );
  });
});

describe("several operations", () => {
  test("are each answered by their own item", () => {
    const response = answer(located, told);
    assert.deepEqual(payloadOf(response, pair, 0, locateOperation).uniqueIdentifiers, ["a"]);
    assert.equal(payloadOf(response, pair, 1, getAttributesOperation).uniqueIdentifier, "a");
  });

  test("are found by their IDs where the server answers in another order", () => {
    const response = answer(told, located);
    assert.deepEqual(payloadOf(response, pair, 0, locateOperation).uniqueIdentifiers, ["a"]);
    assert.equal(payloadOf(response, pair, 1, getAttributesOperation).uniqueIdentifier, "a");
  });

  test("that came after a failure have the failure of the earlier one", () => {
    const response = answer(failureItem(locateItem, ResultReason.PermissionDenied, ""));
    assert.throws(
      () => payloadOf(response, pair, 1, getAttributesOperation),
      refused("Locate", "Permission Denied"),
    );
  });

  test("each have their own failure where both were tried", () => {
    const response = answer(located, failureItem(getAttributesItem, ResultReason.ItemNotFound, ""));
    assert.deepEqual(payloadOf(response, pair, 0, locateOperation).uniqueIdentifiers, ["a"]);
    assert.throws(
      () => payloadOf(response, pair, 1, getAttributesOperation),
      refused("Get Attributes", "Item Not Found"),
    );
  });

  test("all have the failure of the whole message", () => {
    const operations: readonly OperationDefinition[] = [locateOperation, getAttributesOperation];
    const response = answer(failureItem(undefined, ResultReason.InvalidMessage, ""));
    for (const [index, operation] of operations.entries())
      assert.throws(
        () => payloadOf(response, pair, index, operation),
        refused(operation.name, "Invalid Message"),
      );
  });

  test("are not answered by items without IDs", () => {
    const { uniqueBatchItemId: _first, ...first } = located;
    const { uniqueBatchItemId: _second, ...second } = told;
    assert.throws(
      () => payloadOf(answer(first, second), pair, 0, locateOperation),
      unexpectedly(/\[0\]: is missing$/),
    );
  });

  test("are not answered by one success alone", () => {
    assert.throws(
      () => payloadOf(answer(located), pair, 1, getAttributesOperation),
      unexpectedly(/\[1\]: is missing$/),
    );
  });

  test("that have the same ID in a response are not answered", () => {
    const twice = answer(located, {
      ...told,
      uniqueBatchItemId: located.uniqueBatchItemId ?? Uint8Array.of(),
    });
    assert.throws(
      () => payloadOf(twice, pair, 1, getAttributesOperation),
      unexpectedly(/\[1\]: is missing$/),
    );
    assert.throws(() => payloadOf(twice, pair, 0, locateOperation), unexpectedly(/another with its ID$/));
  });
});

describe("PyKMIP's answers to batches", () => {
  const captured = readVectors<MessageVector>("messages").filter(({ version }) => version === "1.4");
  const read = (says: string): ResponseMessage => {
    const vector = captured.find((one) => one.says === says);
    assert.ok(vector !== undefined);
    return decodeResponse(fromHex(vector.response));
  };

  test("a failure in the first of two that stops the second is the failure of both", () => {
    const asked = createRequest(newest, [
      call(getAttributesOperation, {}),
      call(discoverVersionsOperation, {}),
    ]);
    const response = read("the first fails, and the second is not tried");
    const operations: readonly OperationDefinition[] = [getAttributesOperation, discoverVersionsOperation];
    const words = "Could not locate object: none of its";
    for (const [index, operation] of operations.entries())
      assert.throws(
        () => payloadOf(response, asked, index, operation),
        refused("Get Attributes", "Item Not Found", words),
      );
  });

  test("a refusal of the whole message names no operation", () => {
    assert.throws(
      () => payloadOf(read("refused as a whole"), pair, 1, getAttributesOperation),
      refused("Get Attributes", "Invalid Message", "Batch item ID is undefined."),
    );
  });
});

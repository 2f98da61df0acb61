/**
 * Batches: joins operations with messages. Builds a request of several operations, builds the items of a response, and
 * finds in a response what belongs to each operation (KMIP 1.4 sections 4, 6.4, 6.9 to 6.15).
 * Leaves out asynchronous operations: a pending one is an unexpected reply.
 */
import { randomBytes } from "node:crypto";
import { KmipResultError } from "../errors.ts";
import { withoutPayload } from "../text/untrusted.ts";
import { unexpected } from "./grammar.ts";
import type { RequestItem, RequestMessage, ResponseItem, ResponseMessage } from "./messages.ts";
import type { OperationDefinition } from "./operations/operation.ts";
import { enumerationName, ResultReason, ResultStatus } from "./spec/enumerations.ts";
import { Tag } from "./spec/tags.ts";
import { type Item, ItemType } from "./ttlv/item.ts";
import { formatVersion, type ProtocolVersion, supportedVersions } from "./version.ts";

/** An operation with its request, for any version. Made by {@link call}. */
export interface Call {
  /** The operation's specification name. */
  readonly name: string;
  readonly operation: number;
  /** @throws KMIP_VERSION where what is asked has a field newer than `version`. */
  readonly encode: (version: ProtocolVersion) => readonly Item[];
}

/** Everything of a {@link RequestMessage} but its version and items. */
export type RequestOptions = Omit<RequestMessage, "version" | "items">;

/** The longest Result Message that is kept, in UTF-16 code units. */
const resultMessageLimit = 256;

/** Joins an operation with its request. */
export function call<RequestWrite>(
  definition: OperationDefinition<unknown, RequestWrite, unknown, never>,
  payload: RequestWrite,
): Call {
  return {
    name: definition.name,
    operation: definition.operation,
    encode: (version) => definition.request.encodeItems(payload, version),
  };
}

/**
 * A request of one operation or several. Each item gets a Unique Batch Item ID that no other request of this process
 * has, so that a reply which belongs to another request is noticed.
 * @throws KMIP_VERSION where a call can't be put in `version`.
 */
export function createRequest(
  version: ProtocolVersion,
  calls: readonly Call[],
  options: RequestOptions = {},
): RequestMessage {
  const items = calls.map(({ operation, encode }): RequestItem => ({
    operation,
    uniqueBatchItemId: nextItemId(),
    payload: encode(version),
  }));
  return { ...options, version, items };
}

/** Begins at random, so that a reply to an earlier process does not fit by chance. */
let lastItemId = randomBytes(8).readBigUInt64BE();

function nextItemId(): Uint8Array {
  lastItemId = BigInt.asUintN(64, lastItemId + 1n);
  const id = Buffer.alloc(8);
  id.writeBigUInt64BE(lastItemId);
  return id;
}

/** The item of a response that says that `request` succeeded. */
export function successItem<ResponseWrite>(
  request: RequestItem,
  definition: OperationDefinition<unknown, never, unknown, ResponseWrite>,
  payload: ResponseWrite,
  version: ProtocolVersion,
): ResponseItem {
  return {
    ...echo(request),
    resultStatus: ResultStatus.Success,
    payload: definition.response.encodeItems(payload, version),
  };
}

/**
 * The item of a response that says that `request` failed.
 * @param request undefined where the message could not be read so far.
 * @param reason a Result Reason, section 9.1.3.2.29.
 */
export function failureItem(request: RequestItem | undefined, reason: number, message: string): ResponseItem {
  return {
    ...(request === undefined ? {} : echo(request)),
    resultStatus: ResultStatus.OperationFailed,
    resultReason: reason,
    resultMessage: message,
  };
}

function echo({
  operation,
  uniqueBatchItemId,
}: RequestItem): Pick<ResponseItem, "operation" | "uniqueBatchItemId"> {
  return uniqueBatchItemId === undefined ? { operation } : { operation, uniqueBatchItemId };
}

/**
 * What `response` holds for the item at `index` of `request`. An item that was never carried out because an earlier one
 * failed has that one's failure.
 * @throws KMIP_RESULT where the server refused (never retryable: no reason of 1.x is documented as transient);
 *   KMIP_UNEXPECTED where the response does not answer the request.
 */
export function payloadOf<ResponseRead>(
  response: ResponseMessage,
  request: RequestMessage,
  index: number,
  definition: OperationDefinition<unknown, never, ResponseRead, never>,
): ResponseRead {
  const place = `ResponseMessage/BatchItem[${index}]`;
  const item = answerTo(response, request, index, definition.name);
  checkAnswer(item, definition, place, request.items[index]?.payload);
  // The version in the response's header is not compared: servers put 2.x there, and the item is that of the request.
  return definition.response.decodeItems(item.payload ?? [], `${place}/ResponsePayload`);
}

/** Finds the item that answers, by its ID where it must have one, for a server may answer in another order. */
function answerTo(
  response: ResponseMessage,
  request: RequestMessage,
  index: number,
  name: string,
): ResponseItem {
  const { items } = response;
  if (items.length > request.items.length)
    throw unexpected(
      "ResponseMessage/BatchItem",
      `appears ${items.length} times for ${request.items.length} requested`,
    );
  const asked = request.items[index]?.uniqueBatchItemId;
  const [found, another] =
    request.items.length === 1 ? items : items.filter((item) => sameId(item.uniqueBatchItemId, asked));
  if (another !== undefined)
    throw unexpected(`ResponseMessage/BatchItem[${index}]`, "has another with its ID");
  if (found !== undefined) return checkId(found, asked, index);
  const failed = items.find((item) => isFailure(item.resultStatus));
  if (failed !== undefined) throw refusal(failed, name, request.items[index]?.payload);
  throw unexpected(`ResponseMessage/BatchItem[${index}]`, "is missing");
}

/** The only item of a response may omit its ID, or leave it empty; it may not have another one. */
function checkId(item: ResponseItem, asked: Uint8Array | undefined, index: number): ResponseItem {
  const returned = item.uniqueBatchItemId;
  if (returned === undefined || returned.length === 0 || asked === undefined || sameId(returned, asked))
    return item;
  throw unexpected(`ResponseMessage/BatchItem[${index}]/UniqueBatchItemID`, "is not the request's");
}

function sameId(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;
}

function checkAnswer(
  item: ResponseItem,
  definition: OperationDefinition,
  place: string,
  sent: readonly Item[] | undefined,
): void {
  const { operation, resultStatus } = item;
  const failed = isFailure(resultStatus);
  if (operation === undefined ? !failed : operation !== definition.operation)
    throw unexpected(`${place}/Operation`, `is ${operationName(operation)}, not ${definition.name}`);
  if (item.messageExtension?.criticalityIndicator === true)
    throw unexpected(`${place}/MessageExtension`, "is critical, and not understood");
  if (failed) throw refusal(item, definition.name, sent);
  if (resultStatus !== ResultStatus.Success)
    throw unexpected(`${place}/ResultStatus`, `is ${enumerationName(Tag.ResultStatus, resultStatus)}`);
}

function isFailure(status: number): boolean {
  return status === ResultStatus.OperationFailed || status === ResultStatus.OperationUndone;
}

function operationName(operation: number | undefined): string {
  return operation === undefined ? "missing" : enumerationName(Tag.Operation, operation);
}

function refusal(item: ResponseItem, name: string, sent: readonly Item[] = []): KmipResultError {
  const operation = item.operation === undefined ? name : operationName(item.operation);
  const shown = [...textsIn(sent), ...versionTexts, operation.replaceAll(" ", "")];
  return new KmipResultError({
    operation,
    reason: enumerationName(Tag.ResultReason, item.resultReason ?? ResultReason.GeneralFailure),
    resultMessage: oneLine(item.resultMessage ?? "", shown),
  });
}

const versionTexts = supportedVersions.map(formatVersion);

/** A server's words on one line of bounded length, without anything that may be a plaintext. */
function oneLine(text: string, shown: readonly string[]): string {
  const line = text.slice(0, 4 * resultMessageLimit).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ");
  return withoutPayload(line, shown).trim().slice(0, resultMessageLimit);
}

/**
 * The Text Strings that a request sent: identifiers, names and attribute names. None is secret, for what is encrypted
 * and decrypted travels as Byte Strings, and a Credential is in the header.
 */
function textsIn(items: readonly Item[]): string[] {
  return items.flatMap((item) => {
    if (item.type === ItemType.Structure) return textsIn(item.value);
    return item.type === ItemType.TextString ? [item.value] : [];
  });
}

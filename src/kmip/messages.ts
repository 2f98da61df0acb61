/**
 * Request Message and Response Message, KMIP 1.4 sections 6 and 7: headers and batch items, to bytes and back.
 * A payload stays items here, for only its operation knows its grammar (operations/); batch.ts joins the two.
 * Leaves out asynchronous operations, and does not look into Authentication or a vendor's extension.
 */
import {
  anyStructure,
  boolean,
  byteString,
  type Codec,
  dateTime,
  enumeration,
  integer,
  longInteger,
  optional,
  type ReadOf,
  repeated,
  required,
  since,
  structure,
  type StructureCodec,
  textString,
  unexpected,
  type WriteOf,
} from "./grammar.ts";
import { protocolVersion } from "./operations/discover-versions.ts";
import { Tag, tagIdentifier } from "./spec/tags.ts";
import { type Item, ItemType } from "./ttlv/item.ts";
import { decodeItem } from "./ttlv/reader.ts";
import { encodeItem } from "./ttlv/writer.ts";
import type { ProtocolVersion } from "./version.ts";

/** Message Extension, section 6.16. A receiver that does not understand a critical one must not act on the message. */
const messageExtension = structure({
  vendorIdentification: required(Tag.VendorIdentification, textString),
  /** Required; some servers leave it out. Absent is false. */
  criticalityIndicator: optional(Tag.CriticalityIndicator, boolean),
  vendorExtension: required(Tag.VendorExtension, anyStructure),
});

/**
 * Protocol Version, [Maximum Response Size] 1.4: [Client Correlation Value] [Server Correlation Value],
 * [Asynchronous Indicator] 1.2: [Attestation Capable Indicator] Attestation Type*, [Authentication]
 * [Batch Error Continuation Option] [Batch Order Option] [Time Stamp] Batch Count
 */
const requestHeader = structure({
  version: required(Tag.ProtocolVersion, protocolVersion),
  /** In bytes. */
  maximumResponseSize: optional(Tag.MaximumResponseSize, integer),
  clientCorrelationValue: since("1.4", optional(Tag.ClientCorrelationValue, textString)),
  serverCorrelationValue: since("1.4", optional(Tag.ServerCorrelationValue, textString)),
  asynchronousIndicator: optional(Tag.AsynchronousIndicator, boolean),
  attestationCapableIndicator: since("1.2", optional(Tag.AttestationCapableIndicator, boolean)),
  attestationTypes: since("1.2", repeated(Tag.AttestationType, enumeration)),
  /** Holds credentials: never to be printed. */
  authentication: optional(Tag.Authentication, anyStructure),
  batchErrorContinuationOption: optional(Tag.BatchErrorContinuationOption, enumeration),
  batchOrderOption: optional(Tag.BatchOrderOption, boolean),
  timeStamp: optional(Tag.TimeStamp, dateTime),
  batchCount: required(Tag.BatchCount, integer),
});

/** Operation, [Unique Batch Item ID] (required where there are several), Request Payload, [Message Extension] */
const requestItem = structure({
  operation: required(Tag.Operation, enumeration),
  uniqueBatchItemId: optional(Tag.UniqueBatchItemID, byteString),
  payload: required(Tag.RequestPayload, anyStructure),
  messageExtension: optional(Tag.MessageExtension, messageExtension),
});

const requestMessage = structure({
  header: required(Tag.RequestHeader, requestHeader),
  items: repeated(Tag.BatchItem, requestItem),
});

/** Seconds since 1970: a Date-Time, or the Long Integer that has the same bytes. */
const anyTime: Codec<bigint> = {
  decode: (item, path) =>
    item.type === ItemType.LongInteger ? longInteger.decode(item, path) : dateTime.decode(item, path),
  encode: dateTime.encode,
};

/**
 * Protocol Version, Time Stamp 1.2: [Nonce] Attestation Type* 1.4: [Client Correlation Value]
 * [Server Correlation Value], Batch Count
 */
const responseHeader = structure({
  version: required(Tag.ProtocolVersion, protocolVersion),
  /** Required; some servers leave it out, or write it as a Long Integer, and nothing here needs it. */
  timeStamp: optional(Tag.TimeStamp, anyTime),
  nonce: since("1.2", optional(Tag.Nonce, anyStructure)),
  attestationTypes: since("1.2", repeated(Tag.AttestationType, enumeration)),
  clientCorrelationValue: since("1.4", optional(Tag.ClientCorrelationValue, textString)),
  serverCorrelationValue: since("1.4", optional(Tag.ServerCorrelationValue, textString)),
  batchCount: required(Tag.BatchCount, integer),
});

/**
 * [Operation] (as in the request; absent where the request could not be read) [Unique Batch Item ID] Result Status,
 * [Result Reason] (required on failure) [Result Message] [Asynchronous Correlation Value] [Response Payload]
 * [Message Extension]
 */
const responseItem = structure({
  operation: optional(Tag.Operation, enumeration),
  uniqueBatchItemId: optional(Tag.UniqueBatchItemID, byteString),
  resultStatus: required(Tag.ResultStatus, enumeration),
  resultReason: optional(Tag.ResultReason, enumeration),
  resultMessage: optional(Tag.ResultMessage, textString),
  asynchronousCorrelationValue: optional(Tag.AsynchronousCorrelationValue, byteString),
  payload: optional(Tag.ResponsePayload, anyStructure),
  messageExtension: optional(Tag.MessageExtension, messageExtension),
});

const responseMessage = structure({
  header: required(Tag.ResponseHeader, responseHeader),
  items: repeated(Tag.BatchItem, responseItem),
});

/** A Batch Item of a request. Its payload is not interpreted, so that an unknown operation can be refused by name. */
export type RequestItem = ReadOf<typeof requestItem>;
/** A Batch Item of a response. */
export type ResponseItem = ReadOf<typeof responseItem>;

/** A request to write: the header's fields, Batch Count aside, and the batch items. */
export type RequestMessage = Omit<WriteOf<typeof requestHeader>, "batchCount"> & {
  readonly items: readonly RequestItem[];
};
/** A response to write: the header's fields, Batch Count aside, and the batch items. */
export type ResponseMessage = Omit<WriteOf<typeof responseHeader>, "batchCount"> & {
  readonly items: readonly ResponseItem[];
};

/**
 * Writes a request.
 * @throws KMIP_VERSION where it holds something newer than its version; KMIP_UNEXPECTED where one of several batch
 *   items has no Unique Batch Item ID.
 */
export function encodeRequest(request: RequestMessage): Uint8Array {
  if (request.items.length > 1 && request.items.some((item) => item.uniqueBatchItemId === undefined))
    throw unexpected(
      "RequestMessage/BatchItem/UniqueBatchItemID",
      "is required in each of several batch items",
    );
  return encodeMessage(Tag.RequestMessage, requestMessage, request);
}

/**
 * Writes a response.
 * @throws KMIP_VERSION where it holds something newer than its version.
 */
export function encodeResponse(response: ResponseMessage): Uint8Array {
  return encodeMessage(Tag.ResponseMessage, responseMessage, response);
}

/**
 * Reads a request, for a server. Its version may be one that is not supported.
 * @throws TTLV_* where the bytes are not TTLV; KMIP_UNEXPECTED where they are not a Request Message.
 */
export function decodeRequest(message: Uint8Array | Item): RequestMessage {
  return decodeMessage(Tag.RequestMessage, requestMessage, message);
}

/**
 * Reads a response. batch.ts checks that it fits its request.
 * @throws TTLV_* where the bytes are not TTLV; KMIP_UNEXPECTED where they are not a Response Message.
 */
export function decodeResponse(message: Uint8Array | Item): ResponseMessage {
  return decodeMessage(Tag.ResponseMessage, responseMessage, message);
}

interface Envelope<Header, BatchItem> {
  readonly header: Header;
  readonly items: readonly BatchItem[];
}
type Counted = { readonly version: ProtocolVersion; readonly batchCount: number };
type Flattened<Header, BatchItem> = Omit<Header, "batchCount"> & { readonly items: readonly BatchItem[] };

function encodeMessage<Header extends Counted, BatchItem>(
  tag: number,
  grammar: StructureCodec<unknown, Envelope<Header, BatchItem>>,
  message: Flattened<Header, BatchItem>,
): Uint8Array {
  const { items, ...fields } = message;
  const header = { ...fields, batchCount: items.length } as unknown as Header;
  return encodeItem(grammar.encode(tag, { header, items }, header.version));
}

function decodeMessage<Header extends Counted, BatchItem>(
  tag: number,
  grammar: StructureCodec<Envelope<Header, BatchItem>, never>,
  message: Uint8Array | Item,
): Flattened<Header, BatchItem> {
  const item = message instanceof Uint8Array ? decodeItem(message) : message;
  const path = tagIdentifier(tag);
  if (item.tag !== tag || item.type !== ItemType.Structure)
    throw unexpected(tagIdentifier(item.tag), `is not a ${path} Structure`);
  const { header, items } = grammar.decodeItems(item.value, path);
  const { batchCount, ...fields } = header;
  if (batchCount !== items.length)
    throw unexpected(`${path}/BatchCount`, `is ${batchCount}, and there are ${items.length} batch items`);
  return { ...fields, items };
}

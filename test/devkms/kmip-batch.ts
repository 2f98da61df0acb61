/**
 * One request of the embedded KMS's KMIP face, from message to message: header, batch, errors (KMIP 1.4 sections 6, 7
 * and 11). Knows nothing of sockets. Leaves out asynchronous answers, Undo, and credentials: TLS says who is there.
 */
import { ProviderError } from "../../src/errors.ts";
import { failureItem } from "../../src/kmip/batch.ts";
import {
  decodeRequest,
  encodeResponse,
  type RequestItem,
  type RequestMessage,
  type ResponseItem,
} from "../../src/kmip/messages.ts";
import {
  BatchErrorContinuationOption,
  ResultReason,
  ResultStatus,
} from "../../src/kmip/spec/enumerations.ts";
import { compareVersions, formatVersion, isAtLeast, type ProtocolVersion } from "../../src/kmip/version.ts";
import type { Faults, Refusal } from "./faults.ts";
import type { KeyStore } from "./key-store.ts";
import { type KmipContext, KmipFailure } from "./kmip-context.ts";
import { operationIdentifier, runOperation } from "./kmip-operations.ts";

/** What requests are carried out with. */
export interface KmipServerState {
  readonly keys: KeyStore;
  readonly faults: Faults;
  readonly maxVersion: ProtocolVersion;
}

/** A request read, or why it can't be: then `refusal` is the message that says so, and the connection's last. */
export type Received = { readonly request: RequestMessage } | { readonly refusal: Uint8Array };

function respond(version: ProtocolVersion, items: readonly ResponseItem[]): Uint8Array {
  return encodeResponse({ version, timeStamp: BigInt(Math.floor(Date.now() / 1000)), items });
}

/** The answer to bytes that are no request: no operation, Invalid Message, in the server's own version. */
export function refuseMessage(maxVersion: ProtocolVersion, error: unknown): Uint8Array {
  const message = error instanceof ProviderError ? error.message : "not a request";
  return respond(maxVersion, [failureItem(undefined, ResultReason.InvalidMessage, message)]);
}

/** Reads a request. Throws nothing, whatever the bytes. */
export function receive(message: Uint8Array, maxVersion: ProtocolVersion): Received {
  try {
    return { request: decodeRequest(message) };
  } catch (error) {
    return { refusal: refuseMessage(maxVersion, error) };
  }
}

/** The operations of a request, as `["Locate", "GetAttributes"]`. */
export function operationsOf(request: RequestMessage): string[] {
  return request.items.map(({ operation }) => operationIdentifier(operation));
}

/** @throws KmipFailure where the message as a whole can't be carried out */
function checkRequest(request: RequestMessage, maxVersion: ProtocolVersion): void {
  const { version, items } = request;
  if (version.major !== maxVersion.major || !isAtLeast(version, { major: 1, minor: 0 }))
    throw new KmipFailure(ResultReason.InvalidMessage, `KMIP ${formatVersion(version)} is not supported`);
  if (compareVersions(version, maxVersion) > 0)
    throw new KmipFailure(ResultReason.InvalidMessage, `KMIP ${formatVersion(version)} is not supported`);
  if (items.length === 0) throw new KmipFailure(ResultReason.InvalidMessage, "there is no batch item");
  if (items.length > 1 && items.some(({ uniqueBatchItemId }) => uniqueBatchItemId === undefined))
    throw new KmipFailure(ResultReason.InvalidMessage, "a batch item has no Unique Batch Item ID");
  if (request.asynchronousIndicator === true)
    throw new KmipFailure(ResultReason.FeatureNotSupported, "asynchronous operations are not supported");
  if (request.batchErrorContinuationOption === BatchErrorContinuationOption.Undo)
    throw new KmipFailure(ResultReason.FeatureNotSupported, "Undo is not supported");
}

function toFailure(error: unknown): KmipFailure {
  if (error instanceof KmipFailure) return error;
  if (error instanceof ProviderError) return new KmipFailure(ResultReason.InvalidMessage, error.message);
  return new KmipFailure(ResultReason.GeneralFailure, "the server failed");
}

function refusalOf(refuse: Refusal, item: RequestItem): ResponseItem | undefined {
  if (refuse.operation !== undefined && refuse.operation !== operationIdentifier(item.operation))
    return undefined;
  const reason = Object.entries(ResultReason).find(([name]) => name === refuse.reason)?.[1];
  return failureItem(item, reason ?? ResultReason.GeneralFailure, refuse.message ?? "refused");
}

function runItem(item: RequestItem, context: KmipContext): ResponseItem {
  try {
    if (item.messageExtension?.criticalityIndicator === true)
      throw new KmipFailure(ResultReason.FeatureNotSupported, "the Message Extension is not known");
    return runOperation(item, context);
  } catch (error) {
    const { reason, message } = toFailure(error);
    return failureItem(item, reason, message);
  }
}

/** In order; after a failure the rest is left out, unless the client asked to continue (section 6.14). */
function runBatch(
  request: RequestMessage,
  state: KmipServerState,
  refuse: Refusal | undefined,
): ResponseItem[] {
  const context: KmipContext = { ...state, version: request.version, placeholder: undefined };
  const answers: ResponseItem[] = [];
  for (const item of request.items) {
    const response = (refuse && refusalOf(refuse, item)) ?? runItem(item, context);
    answers.push(response);
    if (
      response.resultStatus !== ResultStatus.Success &&
      request.batchErrorContinuationOption !== BatchErrorContinuationOption.Continue
    )
      break;
  }
  return answers;
}

/**
 * Carries out a request and gives the response. Throws nothing: what fails is in the response.
 * @param refuse refuse the operations that it names in place of carrying them out
 */
export function answer(request: RequestMessage, state: KmipServerState, refuse?: Refusal): Uint8Array {
  try {
    checkRequest(request, state.maxVersion);
  } catch (error) {
    const { reason, message } = toFailure(error);
    const { version } = request;
    const isKnown = version.major === 1 && version.minor >= 0 && isAtLeast(state.maxVersion, version);
    return respond(isKnown ? version : state.maxVersion, [failureItem(undefined, reason, message)]);
  }
  const items = runBatch(request, state, refuse);
  const response = respond(request.version, items);
  const { maximumResponseSize: limit } = request;
  if (limit === undefined || response.length <= limit) return response;
  const tooLarge = request.items
    .slice(0, items.length)
    .map((item) => failureItem(item, ResultReason.ResponseTooLarge, `over ${limit} bytes`));
  return respond(request.version, tooLarge);
}

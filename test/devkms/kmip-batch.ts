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
  Operation,
  ResultReason,
  ResultStatus,
} from "../../src/kmip/spec/enumerations.ts";
import { type Item, ItemType } from "../../src/kmip/ttlv/item.ts";
import { formatVersion, type ProtocolVersion } from "../../src/kmip/version.ts";
import type { Faults, Refusal } from "./faults.ts";
import type { KeyStore } from "./key-store.ts";
import { isOwnVersion, type KmipContext, KmipFailure } from "./kmip-context.ts";
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

/** Whether the version of a request is one of this server. */
export function isSpoken({ version }: RequestMessage, { maxVersion, faults }: KmipServerState): boolean {
  return isOwnVersion(version, maxVersion, faults);
}

/** @throws KmipFailure where the message as a whole can't be carried out */
function checkRequest(request: RequestMessage, state: KmipServerState): void {
  const { version, items } = request;
  if (!isSpoken(request, state)) {
    const { versionRefusal } = state.faults.kmip;
    const reason = Object.entries(ResultReason).find(([name]) => name === versionRefusal)?.[1];
    throw new KmipFailure(
      reason ?? ResultReason.InvalidMessage,
      `KMIP ${formatVersion(version)} is not supported`,
    );
  }
  checkCredential(request, state);
  if (items.length === 0) throw new KmipFailure(ResultReason.InvalidMessage, "there is no batch item");
  if (items.length > 1 && items.some(({ uniqueBatchItemId }) => uniqueBatchItemId === undefined))
    throw new KmipFailure(ResultReason.InvalidMessage, "a batch item has no Unique Batch Item ID");
  if (request.asynchronousIndicator === true)
    throw new KmipFailure(ResultReason.FeatureNotSupported, "asynchronous operations are not supported");
  if (request.batchErrorContinuationOption === BatchErrorContinuationOption.Undo)
    throw new KmipFailure(ResultReason.FeatureNotSupported, "Undo is not supported");
}

/** @throws KmipFailure where this server wants a Credential, and the request has another or none */
function checkCredential(request: RequestMessage, { faults }: KmipServerState): void {
  const { credential, discoversWithoutCredential } = faults.kmip;
  if (credential === undefined) return;
  const isDiscover = request.items.every(({ operation }) => operation === Operation.DiscoverVersions);
  if (isDiscover && discoversWithoutCredential) return;
  const wanted = JSON.stringify([credential.username, credential.password]);
  if (JSON.stringify(textsIn(request.authentication ?? [])) !== wanted)
    throw new KmipFailure(
      ResultReason.AuthenticationNotSuccessful,
      "a user name and a password are required",
    );
}

function textsIn(items: readonly Item[]): string[] {
  return items.flatMap((item) => {
    if (item.type === ItemType.Structure) return textsIn(item.value);
    return item.type === ItemType.TextString ? [item.value] : [];
  });
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

/** The version in the header of a refusal of the whole message. */
function refusalVersion(
  { version }: RequestMessage,
  { maxVersion, faults }: KmipServerState,
): ProtocolVersion {
  const { refusalHeader, versions } = faults.kmip;
  if (refusalHeader === "2.1") return { major: 2, minor: 1 };
  if (refusalHeader === "1.0") return { major: 1, minor: 0 };
  return versions !== undefined || isOwnVersion(version, maxVersion, faults) ? version : maxVersion;
}

/** A Message Extension without the Criticality Indicator that it must have. */
const extension = { vendorIdentification: "okms-devkms", vendorExtension: [] };

/**
 * Carries out a request and gives the response. Throws nothing: what fails is in the response.
 * @param refuse refuse the operations that it names in place of carrying them out
 */
export function answer(request: RequestMessage, state: KmipServerState, refuse?: Refusal): Uint8Array {
  try {
    checkRequest(request, state);
  } catch (error) {
    const { reason, message } = toFailure(error);
    return respond(refusalVersion(request, state), [failureItem(undefined, reason, message)]);
  }
  const { addsExtension, replyHeader } = state.faults.kmip;
  const ran = runBatch(request, state, refuse);
  const items = addsExtension ? ran.map((item) => ({ ...item, messageExtension: extension })) : ran;
  const version = replyHeader === undefined ? request.version : { major: 2, minor: 0 };
  const response = respond(version, items);
  const { maximumResponseSize: limit } = request;
  if (limit === undefined || response.length <= limit) return response;
  const tooLarge = request.items
    .slice(0, items.length)
    .map((item) => failureItem(item, ResultReason.ResponseTooLarge, `over ${limit} bytes`));
  return respond(request.version, tooLarge);
}

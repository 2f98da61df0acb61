/**
 * The operations of the embedded KMS, KMIP 1.4 section 4, on its key store. State changes and their refusals follow
 * sections 3.22 and 11; where the specification leaves a choice, PyKMIP's is taken. Get is not among them.
 */
import { type Attribute, revocationReason } from "../../src/kmip/attributes.ts";
import { successItem } from "../../src/kmip/batch.ts";
import type { ReadOf } from "../../src/kmip/grammar.ts";
import type { RequestItem, ResponseItem } from "../../src/kmip/messages.ts";
import * as operations from "../../src/kmip/operations/index.ts";
import {
  enumerationName,
  ObjectType,
  Operation,
  QueryFunction,
  ResultReason,
  RevocationReasonCode,
  StorageStatusMask,
} from "../../src/kmip/spec/enumerations.ts";
import { Tag } from "../../src/kmip/spec/tags.ts";
import { ItemType } from "../../src/kmip/ttlv/item.ts";
import { compareVersions, isAtLeast, parseVersion, supportedVersions } from "../../src/kmip/version.ts";
import type { StoredKey } from "./key-store.ts";
import {
  addAttribute,
  type AttributeChange,
  attributesOf,
  deleteAttribute,
  isLocated,
  modifyAttribute,
  newKeyOf,
} from "./kmip-attributes.ts";
import {
  findKey,
  isOwnVersion,
  type KmipContext,
  KmipFailure,
  notInVersion,
  setPlaceholder,
} from "./kmip-context.ts";
import { decrypt, encrypt } from "./kmip-crypto.ts";

interface Handler {
  readonly operation: number;
  readonly since: operations.OperationDefinition["since"];
  run(item: RequestItem, context: KmipContext): ResponseItem;
}

function handler<Request, Response>(
  definition: operations.OperationDefinition<Request, never, unknown, Response>,
  act: (request: Request, context: KmipContext) => Response,
): Handler {
  return {
    operation: definition.operation,
    since: definition.since,
    run(item, context) {
      const request = definition.request.decodeItems(item.payload, "RequestMessage/BatchItem/RequestPayload");
      return successItem(item, definition, act(request, context), context.version);
    },
  };
}

/** Finds the key, checks, and gives its identifier: the shape of every operation that only changes the state. */
function onKey<Request extends { readonly uniqueIdentifier?: string }>(
  act: (key: StoredKey, request: Request, context: KmipContext) => void,
): (request: Request, context: KmipContext) => { uniqueIdentifier: string } {
  return (request, context) => {
    const key = findKey(context, request.uniqueIdentifier);
    act(key, request, context);
    return { uniqueIdentifier: key.id };
  };
}

function revoke(key: StoredKey, reason: ReadOf<typeof revocationReason>, { keys }: KmipContext): void {
  const compromise: number[] = [RevocationReasonCode.KeyCompromise, RevocationReasonCode.CACompromise];
  if (key.state === "Destroyed") throw new KmipFailure(ResultReason.IllegalOperation, "the key is destroyed");
  if (compromise.includes(reason.code)) keys.update(key.id, { state: "Compromised" });
  else if (key.state === "Active") keys.update(key.id, { state: "Deactivated" });
  else
    throw new KmipFailure(ResultReason.IllegalOperation, `a key that is ${key.state} cannot be deactivated`);
}

function destroy(key: StoredKey, { keys }: KmipContext): void {
  if (key.state === "Active")
    throw new KmipFailure(ResultReason.PermissionDenied, "a key that is Active cannot be destroyed");
  if (key.state === "Destroyed") throw new KmipFailure(ResultReason.ItemNotFound, `no object ${key.id}`);
  keys.update(key.id, { state: "Destroyed" });
}

function activate(key: StoredKey, { keys }: KmipContext): void {
  if (key.state !== "PreActive")
    throw new KmipFailure(ResultReason.PermissionDenied, `a key that is ${key.state} cannot be activated`);
  keys.update(key.id, { state: "Active" });
}

function applyTo(
  context: KmipContext,
  uniqueIdentifier: string | undefined,
  change: (key: StoredKey) => AttributeChange,
): { uniqueIdentifier: string; attribute: AttributeChange["attribute"] } {
  const key = findKey(context, uniqueIdentifier);
  if (key.state === "Destroyed") throw new KmipFailure(ResultReason.PermissionDenied, "the key is destroyed");
  const result = change(key);
  context.keys.update(key.id, result.change);
  return { uniqueIdentifier: key.id, attribute: result.attribute };
}

/** The attributes of a key, told as the quirks have it. */
function toldAttributes(key: StoredKey, { version, faults }: KmipContext): readonly Attribute[] {
  const { tellsNoName, enumerationsAs } = faults.kmip;
  const own = attributesOf(key, version).filter(({ name }) => !tellsNoName || name !== "Name");
  const tags: Readonly<Record<string, number>> = {
    State: Tag.State,
    "Object Type": Tag.ObjectType,
    "Cryptographic Algorithm": Tag.CryptographicAlgorithm,
  };
  return own.map((one): Attribute => {
    const meaning = tags[one.name];
    if (enumerationsAs === undefined || meaning === undefined || one.value.type !== ItemType.Enumeration)
      return one;
    const { tag, value } = one.value;
    return enumerationsAs === "Integer"
      ? { ...one, value: { tag, type: ItemType.Integer, value } }
      : { ...one, value: { tag, type: ItemType.TextString, value: enumerationName(meaning, value) } };
  });
}

const handlers: readonly Handler[] = [
  handler(operations.discoverVersionsOperation, ({ protocolVersions: asked }, { maxVersion, faults }) => {
    const own = supportedVersions.filter((version) => isOwnVersion(version, maxVersion, faults));
    const common = own.filter((version) => asked.some((other) => compareVersions(version, other) === 0));
    return { protocolVersions: asked.length === 0 ? own : common };
  }),
  handler(operations.queryOperation, ({ queryFunctions: asked }, { version }) => ({
    operations: asked.includes(QueryFunction.QueryOperations) ? operationsOf(version) : [],
    objectTypes: asked.includes(QueryFunction.QueryObjects) ? [ObjectType.SymmetricKey] : [],
    ...(asked.includes(QueryFunction.QueryServerInformation)
      ? { vendorIdentification: "okms-k8s-encryption-provider: embedded KMS for tests" }
      : {}),
  })),
  handler(operations.createOperation, ({ objectType, templateAttribute }, context) => {
    if (objectType !== ObjectType.SymmetricKey)
      throw new KmipFailure(ResultReason.InvalidField, "only a Symmetric Key can be created");
    if (templateAttribute.names.length > 0)
      throw new KmipFailure(ResultReason.ItemNotFound, "there are no templates here");
    const { names, attributes, ...key } = newKeyOf(templateAttribute.attributes);
    const { id } = context.keys.create(key);
    context.keys.update(id, { names: names ?? [], attributes: attributes ?? {} });
    setPlaceholder(context, id);
    return { objectType, uniqueIdentifier: id };
  }),
  handler(operations.locateOperation, (request, context) => {
    const { offsetItems = 0, maximumItems, storageStatusMask = StorageStatusMask.OnlineStorage } = request;
    const isOnline = (storageStatusMask & StorageStatusMask.OnlineStorage) !== 0;
    const { locateIgnoresName, locateRepeats } = context.faults.kmip;
    const asked = request.attributes.filter(({ name }) => !locateIgnoresName || name !== "Name");
    const all = context.keys.list().filter((key) => isOnline && isLocated(key, asked, context.version));
    const limit = maximumItems === undefined ? undefined : offsetItems + Math.max(0, maximumItems);
    const page = all.slice(Math.max(0, offsetItems), locateIgnoresName ? 1 : limit).map(({ id }) => id);
    const found = locateRepeats ? page.flatMap((id) => [id, id]) : page;
    setPlaceholder(context, found.length === 1 ? found[0] : undefined);
    const counts = isAtLeast(context.version, parseVersion("1.3")) ? { locatedItems: all.length } : {};
    return { ...counts, uniqueIdentifiers: found };
  }),
  handler(operations.getAttributesOperation, ({ uniqueIdentifier, attributeNames }, context) => {
    const key = findKey(context, uniqueIdentifier);
    const wanted = new Set(attributeNames);
    const attributes = toldAttributes(key, context);
    const missing = attributeNames.find((name) => !attributes.some((one) => one.name === name));
    const { refusesUnset } = context.faults.kmip;
    if (refusesUnset !== undefined && missing !== undefined)
      throw new KmipFailure(ResultReason[refusesUnset], `there is no ${missing}`);
    return {
      uniqueIdentifier: key.id,
      attributes: wanted.size === 0 ? attributes : attributes.filter(({ name }) => wanted.has(name)),
    };
  }),
  handler(operations.addAttributeOperation, (request, context) =>
    applyTo(context, request.uniqueIdentifier, (key) => addAttribute(key, request.attribute)),
  ),
  handler(operations.modifyAttributeOperation, (request, context) =>
    applyTo(context, request.uniqueIdentifier, (key) => modifyAttribute(key, request.attribute)),
  ),
  handler(operations.deleteAttributeOperation, (request, context) =>
    applyTo(context, request.uniqueIdentifier, (key) =>
      deleteAttribute(key, request.attributeName, request.attributeIndex ?? 0, context.version),
    ),
  ),
  handler(
    operations.activateOperation,
    onKey((key, _, context) => activate(key, context)),
  ),
  handler(
    operations.revokeOperation,
    onKey((key, request, context) => revoke(key, request.revocationReason, context)),
  ),
  handler(
    operations.destroyOperation,
    onKey((key, _, context) => destroy(key, context)),
  ),
  handler(operations.encryptOperation, encrypt),
  handler(operations.decryptOperation, decrypt),
];

function operationsOf(version: KmipContext["version"]): number[] {
  return handlers
    .filter(({ since }) => isAtLeast(version, since))
    .map(({ operation }) => operation)
    .toSorted((a, b) => a - b);
}

const identifiers = new Map<number, string>(Object.entries(Operation).map(([name, value]) => [value, name]));

/** The name of an operation as `Operation` of src/kmip/spec has it, as `GetAttributes`; of one unknown, its number. */
export function operationIdentifier(operation: number): string {
  return identifiers.get(operation) ?? enumerationName(Tag.Operation, operation);
}

function nameOf({ operation }: RequestItem): string {
  return enumerationName(Tag.Operation, operation);
}

/**
 * Carries out one batch item.
 * @throws KmipFailure where it fails, ProviderError where its payload is not as the operation's grammar has it
 */
export function runOperation(item: RequestItem, context: KmipContext): ResponseItem {
  const found = handlers.find(({ operation }) => operation === item.operation);
  if (found === undefined)
    throw new KmipFailure(ResultReason.OperationNotSupported, `${nameOf(item)} is not supported`);
  if (!isAtLeast(context.version, found.since)) throw notInVersion(nameOf(item), context.version);
  return found.run(item, context);
}

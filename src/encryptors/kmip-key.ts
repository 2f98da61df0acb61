/**
 * Finds the configured key in a KMIP server and checks that it can be used, by Locate and Get Attributes (KMIP 1.4
 * sections 4.9 and 4.12), in one message where the server allows. Never asks for key material.
 */
import { type ErrorCode, KmipResultError, ProviderError } from "../errors.ts";
import {
  type Attribute,
  attribute,
  attributeValue,
  call,
  CryptographicAlgorithm,
  CryptographicUsageMask,
  enumerationName,
  getAttributesOperation,
  type KmipClient,
  locateOperation,
  maskNames,
  NameType,
  ObjectType,
  type Reply,
  type CallContext,
  State,
  Tag,
} from "../kmip/index.ts";
import type { KeyInfo, KeySelector } from "./encryptor.ts";
import { asKeyFailure } from "./kmip-failures.ts";

/** Looks the configured key up, again and again. */
export type KeyResolver = (context: CallContext) => Promise<KeyInfo>;

/** What is asked of a key. */
const attributeNames = [
  "Unique Identifier",
  "Name",
  "Object Type",
  "Cryptographic Algorithm",
  "Cryptographic Length",
  "Cryptographic Usage Mask",
  "State",
] as const;

/** Of how many keys with one name the attributes are looked at, to see whether only one of them is active. */
const mostNamesakes = 8;

/** After so many batches lost in a row none is sent any more: one may be lost with its connection. */
const mostLostBatches = 2;

interface FoundKey {
  readonly keyId: string;
  readonly attributes: readonly Attribute[];
}

/** Failures that say more than "denied" does. */
const tellsWhy: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["KEY_NOT_ACTIVE", "KEY_UNUSABLE"]);

/** Makes a resolver for one key. */
export function createKeyResolver(client: KmipClient, key: KeySelector): KeyResolver {
  if ("id" in key) return async (context) => usable(await attributesOf(client, key.id, context));
  // Not every server takes batches, and not every one that does keeps the ID placeholder from one operation to the
  // next (PyKMIP does not). The attributes then take a message of their own, and this is remembered.
  let isPlaceholderKept = true;
  /** Batches in a row that got no reply, or none that makes sense. */
  let lostBatches = 0;
  return async (context) => {
    const located = await locate(
      client,
      key.label,
      isPlaceholderKept && lostBatches < mostLostBatches,
      context,
    );
    if (located.lostBatch !== undefined) lostBatches = located.lostBatch ? lostBatches + 1 : 0;
    const [keyId, ...namesakes] = located.keyIds;
    if (keyId === undefined) throw notFound(key.label);
    if (namesakes.length > 0)
      return usable(await onlyActive(client, key.label, located.keyIds, context), key.label);
    if (located.found?.keyId === keyId) return usable(located.found, key.label);
    const found = await attributesOf(client, keyId, context);
    if (located.lostBatch !== true) isPlaceholderKept = false;
    return usable(found, key.label);
  };
}

/**
 * Says why the use of a key was denied. Before KMIP 2.0 there is no Result Reason for a key in the wrong state, and
 * servers say Permission Denied of it: its attributes tell the two apart.
 * @param denied the KEY_ACCESS_DENIED to give back where the attributes tell nothing against the key.
 */
export async function explainDenial(
  client: KmipClient,
  keyId: string,
  denied: ProviderError,
  context: CallContext,
): Promise<ProviderError> {
  try {
    usable(await attributesOf(client, keyId, context));
    return denied;
  } catch (error) {
    return error instanceof ProviderError && tellsWhy.has(error.code) ? error : denied;
  }
}

interface Located {
  readonly keyIds: readonly string[];
  /** Whether a batch was sent in vain; undefined where none was sent, or it was refused. */
  readonly lostBatch?: boolean;
  /** The attributes that came with them, where the server keeps the ID placeholder and found one key. */
  readonly found: FoundKey | undefined;
}

/** Locate, with the attributes of what it finds where possible. */
async function locate(
  client: KmipClient,
  label: string,
  withAttributes: boolean,
  context: CallContext,
): Promise<Located> {
  try {
    return await sendLocate(client, label, withAttributes, context);
  } catch (error) {
    if (!(error instanceof KmipResultError)) throw error;
    if (withAttributes) return locate(client, label, false, context);
    throw asKeyFailure(error, `with the label "${label}"`);
  }
}

/**
 * Symmetric keys by Name, in whatever state: a label whose only key is not active is not a label without a key. A
 * second try does without the attributes: some servers hang up on a batch, or answer a part of it.
 */
function sendLocate(
  client: KmipClient,
  label: string,
  withAttributes: boolean,
  context: CallContext,
): Promise<Located> {
  let tries = 0;
  return client.send((version) => {
    tries += 1;
    const isBatch = withAttributes && tries === 1;
    const search = call(locateOperation, {
      maximumItems: mostNamesakes + 1,
      attributes: [
        attribute("Name", { value: label, type: NameType.UninterpretedTextString }, version),
        attribute("Object Type", ObjectType.SymmetricKey, version),
      ],
    });
    return {
      calls: isBatch ? [search, call(getAttributesOperation, { attributeNames })] : [search],
      header: isBatch ? { batchOrderOption: true } : {},
      read: (reply): Located => ({
        keyIds: reply.payload(0, locateOperation).uniqueIdentifiers,
        found: isBatch ? attributesIn(reply, 1) : undefined,
        ...(withAttributes ? { lostBatch: !isBatch } : {}),
      }),
    };
  }, context);
}

/** Undefined where the server refused that part of the batch: it has no placeholder, or found none or several. */
function attributesIn(reply: Reply, index: number): FoundKey | undefined {
  try {
    const { uniqueIdentifier, attributes } = reply.payload(index, getAttributesOperation);
    return { keyId: uniqueIdentifier, attributes };
  } catch (error) {
    if (error instanceof KmipResultError) return undefined;
    throw error;
  }
}

async function attributesOf(client: KmipClient, keyId: string, context: CallContext): Promise<FoundKey> {
  const asked = { calls: [call(getAttributesOperation, { uniqueIdentifier: keyId, attributeNames })] };
  const answer = await client
    .send(() => ({ ...asked, read: (reply) => reply.payload(0, getAttributesOperation) }), context)
    .catch((error: unknown) => {
      throw asKeyFailure(error, keyId);
    });
  return { keyId: answer.uniqueIdentifier, attributes: answer.attributes };
}

/** What keeps a key from being the one that is meant: after a rotation the old one may be archived, denied or gone. */
const rulesOut: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "KEY_NOT_FOUND",
  "KEY_ACCESS_DENIED",
  "KEY_NOT_ACTIVE",
]);

/**
 * Of several keys with one name the only active one: after a rotation the old key may keep its name.
 * @throws KEY_AMBIGUOUS where there are several; where there is none, why the attributes of one can't be had, or
 *   KEY_NOT_ACTIVE.
 */
async function onlyActive(
  client: KmipClient,
  label: string,
  keyIds: readonly string[],
  context: CallContext,
): Promise<FoundKey> {
  if (keyIds.length > mostNamesakes) throw ambiguous(label, keyIds);
  const ruledOut: ProviderError[] = [];
  const found = await Promise.all(
    keyIds.map((keyId) =>
      attributesOf(client, keyId, context).catch((error: unknown) => {
        if (!(error instanceof ProviderError) || !rulesOut.has(error.code)) throw error;
        ruledOut.push(error);
        return undefined;
      }),
    ),
  );
  const active = found
    .filter((key) => key !== undefined)
    .filter(({ attributes }) => stateOf(attributes) === State.Active);
  const [only, ...others] = active;
  if (only === undefined) throw ruledOut[0] ?? noneActive(label, keyIds);
  if (others.length > 0) throw ambiguous(label, keyIds);
  return only;
}

/** A server that tells no state may have only keys that can be used. */
function stateOf(attributes: readonly Attribute[]): number {
  return attributeValue(attributes, "State") ?? State.Active;
}

function noneActive(label: string, keyIds: readonly string[]): ProviderError {
  return new ProviderError(
    "KEY_NOT_ACTIVE",
    `none of the ${keyIds.length} keys with the label "${label}" is active: activate the one that is meant`,
    { details: { label, keyIds: keyIds.join(", ") } },
  );
}

function notFound(label: string): ProviderError {
  return new ProviderError(
    "KEY_NOT_FOUND",
    `the KMS shows no symmetric key with the label "${label}" to this client certificate`,
    { details: { label } },
  );
}

function ambiguous(label: string, keyIds: readonly string[]): ProviderError {
  const most = keyIds.length > mostNamesakes ? `more than ${mostNamesakes}` : String(keyIds.length);
  return new ProviderError(
    "KEY_AMBIGUOUS",
    `${most} keys have the label "${label}": take it off all but one, or give the key by its identifier`,
    { details: { label, keyIds: keyIds.slice(0, mostNamesakes).join(", ") } },
  );
}

/**
 * Checks that a key can serve. An attribute that the server does not tell is no reason to refuse the key: whether it
 * encrypts and decrypts is tried out anyhow.
 * @throws KEY_UNUSABLE, KEY_NOT_ACTIVE.
 */
function usable({ keyId, attributes }: FoundKey, label?: string): KeyInfo {
  const objectType = attributeValue(attributes, "Object Type") ?? ObjectType.SymmetricKey;
  if (objectType !== ObjectType.SymmetricKey)
    throw unusable(keyId, `is a ${enumerationName(Tag.ObjectType, objectType)}, not a Symmetric Key`);
  const algorithm = attributeValue(attributes, "Cryptographic Algorithm") ?? CryptographicAlgorithm.AES;
  if (algorithm !== CryptographicAlgorithm.AES)
    throw unusable(
      keyId,
      `is of algorithm ${enumerationName(Tag.CryptographicAlgorithm, algorithm)}, not AES`,
    );
  const state = stateOf(attributes);
  if (state !== State.Active)
    throw new ProviderError(
      "KEY_NOT_ACTIVE",
      `key ${keyId} is ${enumerationName(Tag.State, state)}: activate it, or choose an active one`,
      { details: { keyId } },
    );
  checkUsage(keyId, attributeValue(attributes, "Cryptographic Usage Mask"));
  const name = label ?? told(() => attributeValue(attributes, "Name")?.value);
  const lengthBits = told(() => attributeValue(attributes, "Cryptographic Length"));
  return {
    keyId,
    ...(name === undefined ? {} : { name }),
    ...(lengthBits === undefined ? {} : { lengthBits }),
  };
}

/** What is told of a key and decides nothing: a server that has it in another type may. */
function told<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

const neededUsage = CryptographicUsageMask.Encrypt | CryptographicUsageMask.Decrypt;

function checkUsage(keyId: string, mask: number = neededUsage): void {
  const missing = neededUsage & ~mask;
  if (missing === 0) return;
  const names = [maskNames(Tag.CryptographicUsageMask, missing)].flat().join(" and ");
  throw unusable(keyId, `may not be used for ${names}`);
}

function unusable(keyId: string, why: string): ProviderError {
  return new ProviderError(
    "KEY_UNUSABLE",
    `key ${keyId} ${why}: choose an AES key whose usage is Encrypt and Decrypt`,
    { details: { keyId } },
  );
}

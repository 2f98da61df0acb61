/**
 * Finds the configured key in a KMIP server and checks that it can be used, by Locate and Get Attributes (KMIP 1.4
 * sections 4.9 and 4.12). Never asks for key material.
 */
import { type ErrorCode, ProviderError } from "../errors.ts";
import {
  type Attribute,
  type AttributeName,
  attributeValue,
  type CallContext,
  CryptographicAlgorithm,
  CryptographicUsageMask,
  enumerationName,
  type KmipClient,
  maskNames,
  ObjectType,
  State,
  Tag,
} from "../kmip/index.ts";
import type { KeyDates, KeyInfo, KeySelector } from "./encryptor.ts";
import { type FoundKey, readAttributes, stateOf } from "./kmip-attributes.ts";
import { LabelSearch } from "./kmip-label-search.ts";

/** Finds the configured key, and is called again and again: a label may lead to another key by then. */
export type KeyResolver = (context: CallContext) => Promise<KeyInfo>;

/** Makes a resolver for one key. */
export function createKeyResolver(client: KmipClient, key: KeySelector): KeyResolver {
  if ("id" in key) return async (context) => usable(await readAttributes(client, key.id, context));
  const search = new LabelSearch(client, key.label);
  return async (context) => usable(await search.find(context), key.label);
}

/**
 * Says why an operation on a key was refused. Before KMIP 2.0 there is no Result Reason for a key in the wrong state, and
 * servers say Permission Denied or Illegal Operation: its attributes say more.
 * @param refused the failure to give back where the attributes do not explain it.
 */
export async function explainRefusal(
  client: KmipClient,
  operation: "Encrypt" | "Decrypt",
  keyId: string,
  refused: unknown,
  context: CallContext,
): Promise<unknown> {
  if (!(refused instanceof ProviderError) || !mayBeState.has(refused.code)) return refused;
  try {
    const { dates } = usable(await readAttributes(client, keyId, context));
    return outsideDates(operation, keyId, dates ?? {}, refused) ?? refused;
  } catch (error) {
    return error instanceof ProviderError && saysMore.has(error.code) ? error : refused;
  }
}

const mayBeState: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["KEY_ACCESS_DENIED", "KEY_NOT_ACTIVE"]);
const saysMore: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["KEY_NOT_ACTIVE", "KEY_UNUSABLE"]);

/** A refusal outside the dates between which the key may be used so; undefined within them. */
function outsideDates(
  operation: "Encrypt" | "Decrypt",
  keyId: string,
  { protectStop, processStart }: KeyDates,
  cause: ProviderError,
): ProviderError | undefined {
  const now = Date.now();
  const facts = { cause, details: { keyId } };
  if (operation === "Encrypt" && protectStop !== undefined && protectStop.getTime() <= now)
    return new ProviderError(
      "KEY_NOT_ACTIVE",
      `key ${keyId}: its Protect Stop Date, ${protectStop.toISOString()}, has passed: the KMS refuses Encrypt, and Decrypt still works; choose another key`,
      facts,
    );
  if (operation === "Decrypt" && processStart !== undefined && processStart.getTime() > now)
    return new ProviderError(
      "KEY_NOT_ACTIVE",
      `key ${keyId}: its Process Start Date, ${processStart.toISOString()}, has not come: the KMS refuses Decrypt until then`,
      facts,
    );
  return undefined;
}

/**
 * Checks that a key can serve. An attribute that the server does not report is no reason to refuse the key: the deep
 * probe shows whether it encrypts and decrypts.
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
      `key ${keyId} is ${enumerationName(Tag.State, state)}: ${stateAdvice(state)}`,
      { details: { keyId } },
    );
  checkUsage(keyId, attributeValue(attributes, "Cryptographic Usage Mask"));
  const name = label ?? ifReadable(() => attributeValue(attributes, "Name")?.value);
  const lengthBits = ifReadable(() => attributeValue(attributes, "Cryptographic Length"));
  const dates = datesOf(attributes);
  return {
    keyId,
    ...(name === undefined ? {} : { name }),
    ...(lengthBits === undefined ? {} : { lengthBits }),
    ...(Object.keys(dates).length === 0 ? {} : { dates }),
  };
}

/** KMIP activates Pre-Active keys only (section 3.22): what else can be done depends on the KMS. */
function stateAdvice(state: number): string {
  if (state === State.PreActive) return "activate it, or choose an active one";
  if (state === State.Destroyed || state === State.DestroyedCompromised)
    return "have it restored from a backup of the KMS, under the same identifier; without it what it encrypted is lost";
  return "have the KMS's operator make it active again, before anything else: until then, values under it may be unreadable";
}

function datesOf(attributes: readonly Attribute[]): KeyDates {
  const date = (name: AttributeName & `${string} Date`): Date | undefined => {
    const seconds = ifReadable(() => attributeValue(attributes, name));
    const at = seconds === undefined ? undefined : new Date(Number(seconds) * 1000);
    return at === undefined || Number.isNaN(at.getTime()) ? undefined : at;
  };
  const processStart = date("Process Start Date");
  const protectStop = date("Protect Stop Date");
  const deactivation = date("Deactivation Date");
  return {
    ...(processStart === undefined ? {} : { processStart }),
    ...(protectStop === undefined ? {} : { protectStop }),
    ...(deactivation === undefined ? {} : { deactivation }),
  };
}

/** An attribute that decides nothing: undefined where the server sends it in another type. */
function ifReadable<T>(read: () => T): T | undefined {
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

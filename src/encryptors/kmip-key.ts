/**
 * Finds the configured key in a KMIP server and checks that it can be used, by Locate and Get Attributes (KMIP 1.4
 * sections 4.9 and 4.12). Never asks for key material.
 */
import { randomUUID } from "node:crypto";
import { type ErrorCode, KmipResultError, ProviderError } from "../errors.ts";
import {
  type Attribute,
  attribute,
  type AttributeName,
  attributeValue,
  attributeValues,
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
  type CallContext,
  State,
  Tag,
} from "../kmip/index.ts";
import { quote } from "../text/quote.ts";
import type { KeyDates, KeyInfo, KeySelector } from "./encryptor.ts";
import { asKeyFailure } from "./kmip-failures.ts";

/** Finds the configured key, and is called again and again: a label may lead to another key by then. */
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
  "Process Start Date",
  "Protect Stop Date",
  "Deactivation Date",
] as const;

/** Of how many keys with one name the attributes are read, to see whether only one of them is active. */
const mostNamesakes = 8;

interface FoundKey {
  readonly keyId: string;
  readonly attributes: readonly Attribute[];
}

/** Makes a resolver for one key. */
export function createKeyResolver(client: KmipClient, key: KeySelector): KeyResolver {
  const reader = new AttributeReader(client);
  if ("id" in key) return async (context) => usable(await reader.read(key.id, context));
  const search = new LabelSearch(client, reader, key.label);
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
    const { dates } = usable(await new AttributeReader(client).read(keyId, context));
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
 * Get Attributes, by name; or without names where the server refuses that, since one of them is unset, unknown to it, or
 * not to be shown to this client. Servers do so with any Result Reason.
 */
class AttributeReader {
  readonly #client: KmipClient;

  constructor(client: KmipClient) {
    this.#client = client;
  }

  /** @throws KEY_* for what a refusal means. */
  async read(keyId: string, context: CallContext): Promise<FoundKey> {
    try {
      return await this.#ask(keyId, false, context);
    } catch (error) {
      if (!(error instanceof KmipResultError)) throw error;
      return this.#readOtherwise(keyId, error, context);
    }
  }

  async #readOtherwise(keyId: string, refused: KmipResultError, context: CallContext): Promise<FoundKey> {
    try {
      return await this.#ask(keyId, true, context);
    } catch (error) {
      throw asKeyFailure(error instanceof KmipResultError ? refused : error, keyId);
    }
  }

  /** As the server is known to take it, or the other way. What works is kept in the record of the server. */
  async #ask(keyId: string, isOtherWay: boolean, context: CallContext): Promise<FoundKey> {
    const { uniqueIdentifier, attributes } = await this.#client.send((_version, learned) => {
      const byName = (learned.get("attributes") !== "unnamed") !== isOtherWay;
      const request = { uniqueIdentifier: keyId, attributeNames: byName ? attributeNames : [] };
      return {
        calls: [call(getAttributesOperation, request)],
        read: (reply) => {
          const found = reply.payload(0, getAttributesOperation);
          if (isOtherWay) learned.set("attributes", byName ? "by name" : "unnamed");
          return found;
        },
      };
    }, context);
    if (uniqueIdentifier.toLowerCase() !== keyId.toLowerCase())
      throw new ProviderError(
        "KMIP_UNEXPECTED",
        `Get Attributes was asked of key ${keyId} and answered by key ${uniqueIdentifier}`,
      );
    return { keyId: uniqueIdentifier, attributes };
  }
}

/** What rules a key out: after a rotation the old one may be archived, denied or gone. */
const rulesOut: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "KEY_NOT_FOUND",
  "KEY_ACCESS_DENIED",
  "KEY_NOT_ACTIVE",
]);

/** Finds the key with a label: Locate, then Get Attributes of what it found, whose Name must be the label. */
class LabelSearch {
  readonly #client: KmipClient;
  readonly #reader: AttributeReader;
  readonly #label: string;
  /** Keys without a Name in their attributes that Locate did not find under another name. */
  readonly #confirmed = new Set<string>();

  constructor(client: KmipClient, reader: AttributeReader, label: string) {
    this.#client = client;
    this.#reader = reader;
    this.#label = label;
  }

  /** @throws KEY_NOT_FOUND, KEY_AMBIGUOUS, KEY_NOT_ACTIVE, KEY_ACCESS_DENIED. */
  async find(context: CallContext): Promise<FoundKey> {
    const keyIds = await this.#locate(this.#label, context);
    const [keyId] = keyIds;
    if (keyId === undefined) throw notFound(this.#label);
    if (keyIds.length > 1) return this.#onlyActive(keyIds, context);
    const found = await this.#reader.read(keyId, context);
    await this.#checkName(found, context);
    return found;
  }

  /** Symmetric keys by Name, in whatever state: a label whose only key is not active is not a label without a key. */
  async #locate(name: string, context: CallContext): Promise<string[]> {
    const { uniqueIdentifiers } = await this.#client
      .send((version) => {
        const request = {
          maximumItems: mostNamesakes + 1,
          attributes: [
            attribute("Name", { value: name, type: NameType.UninterpretedTextString }, version),
            attribute("Object Type", ObjectType.SymmetricKey, version),
          ],
        };
        return {
          calls: [call(locateOperation, request)],
          read: (reply) => reply.payload(0, locateOperation),
        };
      }, context)
      .catch((error: unknown) => {
        if (error instanceof ProviderError && error.code === "KMIP_FRAME_TOO_LARGE")
          throw tooManyToRead(this.#label, error);
        throw asKeyFailure(error, `with the label "${this.#label}"`);
      });
    return [...new Set(uniqueIdentifiers)].filter((id) => id !== "");
  }

  /**
   * Some servers ignore the Name in a Locate, and give a key that has nothing to do with it.
   * @throws KEY_NOT_FOUND
   */
  async #checkName({ keyId, attributes }: FoundKey, context: CallContext): Promise<void> {
    const names = attributeValues(attributes, "Name").map(({ value }) => value);
    if (names.includes(this.#label)) return;
    if (names.length > 0) throw anotherName(this.#label, keyId, names);
    if (this.#confirmed.has(keyId)) return;
    // The server reports no names: then a Locate by a name that no key can have must find nothing.
    const others = await this.#locate(`${this.#label}-${randomUUID()}`, context).catch((error: unknown) => {
      if (error instanceof ProviderError && error.code === "KEY_NOT_FOUND") return [] as string[];
      throw error;
    });
    if (others.includes(keyId)) throw anotherName(this.#label, keyId, []);
    this.#confirmed.add(keyId);
  }

  /**
   * Of several keys with one name the only active one: after a rotation the old key may keep its name.
   * @throws KEY_AMBIGUOUS where there are several; where there is none, why the attributes of one cannot be read, or
   *   KEY_NOT_ACTIVE.
   */
  async #onlyActive(keyIds: readonly string[], context: CallContext): Promise<FoundKey> {
    if (keyIds.length > mostNamesakes) throw await this.#tooMany(keyIds, context);
    const ruledOut: ProviderError[] = [];
    const results = await Promise.all(
      keyIds.map(async (keyId) => {
        try {
          const key = await this.#reader.read(keyId, context);
          await this.#checkName(key, context);
          return key;
        } catch (error) {
          if (!(error instanceof ProviderError) || !rulesOut.has(error.code)) throw error;
          ruledOut.push(error);
          return undefined;
        }
      }),
    );
    const found = results.filter((key) => key !== undefined);
    const active = found.filter(({ attributes }) => stateOf(attributes) === State.Active);
    const [only, ...others] = active;
    if (only === undefined) throw ruledOut[0] ?? noneActive(this.#label, keyIds);
    if (others.length > 0) throw ambiguous(this.#label, keyIds);
    return only;
  }

  /** A server that ignores the Name gives all that it has: the first one's Name shows it. */
  async #tooMany(keyIds: readonly string[], context: CallContext): Promise<ProviderError> {
    const [first = ""] = keyIds;
    const found = await this.#reader.read(first, context).catch((error: unknown) => {
      if (error instanceof ProviderError && rulesOut.has(error.code)) return undefined;
      throw error;
    });
    if (found !== undefined) await this.#checkName(found, context);
    return ambiguous(this.#label, keyIds);
  }
}

/** A server that reports no state may have only keys that can be used. */
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

function anotherName(label: string, keyId: string, names: readonly string[]): ProviderError {
  const itsNames = names.length === 0 ? "no name" : `the name ${names.map((name) => quote(name)).join(", ")}`;
  const isSameInAnyCase = names.some((name) => name.toLowerCase() === label.toLowerCase());
  const why = isSameInAnyCase
    ? "capital and small letters count, give the label as the KMS has it"
    : "the KMS ignores names; give the key by its identifier (--encryption-key-id)";
  return new ProviderError(
    "KEY_NOT_FOUND",
    `the KMS was asked for the label "${label}" and gave key ${keyId}, which has ${itsNames}: ${why}`,
    { details: { label, keyId } },
  );
}

function tooManyToRead(label: string, cause: ProviderError): ProviderError {
  return new ProviderError(
    "KEY_AMBIGUOUS",
    `the KMS was asked for the label "${label}" and gave more keys than can be read: it ignores names; give the key by its identifier (--encryption-key-id)`,
    { details: { label }, cause },
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
      `key ${keyId} is ${enumerationName(Tag.State, state)}: activate it, or choose an active one`,
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

/** Finds the key with a label in a KMIP server, by Locate (KMIP 1.4 section 4.9), and checks the Name of what it found. */
import { randomUUID } from "node:crypto";
import { type ErrorCode, ProviderError } from "../errors.ts";
import {
  attribute,
  attributeValues,
  call,
  type CallContext,
  type KmipClient,
  locateOperation,
  NameType,
  ObjectType,
  State,
} from "../kmip/index.ts";
import { quote } from "../text/quote.ts";
import { type FoundKey, readAttributes, stateOf } from "./kmip-attributes.ts";
import { asKeyFailure } from "./kmip-failures.ts";

/** Of how many keys with one name the attributes are read, to see whether only one of them is active. */
const mostNamesakes = 8;

/** What rules a key out: after a rotation the old one may be archived, denied or gone. */
const rulesOut: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "KEY_NOT_FOUND",
  "KEY_ACCESS_DENIED",
  "KEY_NOT_ACTIVE",
]);

/** Finds the key with a label: Locate, then Get Attributes of what it found, whose Name must be the label. */
export class LabelSearch {
  readonly #client: KmipClient;
  readonly #label: string;
  /** Keys without a Name in their attributes that Locate did not find under another name. */
  readonly #confirmed = new Set<string>();

  constructor(client: KmipClient, label: string) {
    this.#client = client;
    this.#label = label;
  }

  /** @throws KEY_NOT_FOUND, KEY_AMBIGUOUS, KEY_NOT_ACTIVE, KEY_ACCESS_DENIED. */
  async find(context: CallContext): Promise<FoundKey> {
    const keyIds = await this.#locate(this.#label, context);
    const [keyId] = keyIds;
    if (keyId === undefined) throw notFound(this.#label);
    if (keyIds.length > 1) return this.#onlyActive(keyIds, context);
    const found = await readAttributes(this.#client, keyId, context);
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
          const key = await readAttributes(this.#client, keyId, context);
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
    const found = await readAttributes(this.#client, first, context).catch((error: unknown) => {
      if (error instanceof ProviderError && rulesOut.has(error.code)) return undefined;
      throw error;
    });
    if (found !== undefined) await this.#checkName(found, context);
    return ambiguous(this.#label, keyIds);
  }
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

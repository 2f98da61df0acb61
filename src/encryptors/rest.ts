/**
 * The REST encryptor: keys of an OKMS domain through its Service Key API. key_id is the service key's UUID, the
 * ciphertext is the API's JWE as bytes, and there are no annotations: byte for byte what the Go original stores.
 */
import { ProviderError, RestError } from "../errors.ts";
import type { RestAddress } from "../net/address.ts";
import { createRestClient } from "../rest/client.ts";
import { isCompactJwe, plaintextBytes } from "../rest/jwe.ts";
import {
  createServiceKeys,
  reachabilityPath,
  type ServiceKey,
  type ServiceKeys,
} from "../rest/service-keys.ts";
import { parseUuid } from "../text/uuid.ts";
import type { CallContext, Encryptor, KeyInfo, KeySelector, KmsObserver } from "./encryptor.ts";
import { maxCiphertextBytes } from "./limits.ts";
import { asCallFailure, asResolveFailure } from "./rest-failures.ts";

/** How a REST encryptor is made. */
export interface RestEncryptorOptions {
  /** In order of preference, at least one. */
  readonly servers: readonly RestAddress[];
  readonly key: KeySelector;
  /** OKMS domain (UUID). */
  readonly okmsId: string;
  readonly onEvent?: KmsObserver;
  /** Time between two tries of a preferred server in the background, in ms. Default: 5000. */
  readonly checkMs?: number;
}

/**
 * Creates the encryptor; nothing is sent before the first call.
 * @throws CONFIG where the domain or the key id is malformed
 */
export function createRestEncryptor(options: RestEncryptorOptions): Encryptor {
  const okmsId = parseUuid(options.okmsId);
  if (okmsId === undefined) throw new ProviderError("CONFIG", "--okms-id: must be a UUID");
  if ("id" in options.key && parseUuid(options.key.id) === undefined)
    throw new ProviderError("CONFIG", "--encryption-key-id: must be a UUID with --protocol rest");
  const client = createRestClient({ ...options, reachabilityPath: reachabilityPath(okmsId) });
  const keys = createServiceKeys(client, okmsId);
  return {
    protocol: "rest",
    resolveKey: createKeyResolver(keys, options.key),
    encrypt: (plaintext, keyId, context) => encrypt(keys, plaintext, keyId, context),
    decrypt: ({ ciphertext, keyId }, context) => decrypt(keys, ciphertext, keyId, context),
    setTlsMaterial: client.setTlsMaterial,
    connections: client.counts,
    close: client.close,
  };
}

async function encrypt(keys: ServiceKeys, plaintext: Uint8Array, keyId: string, context: CallContext) {
  const id = checkKeyId(keyId);
  const jwe = await keys
    .encrypt(id, plaintext, context)
    .catch((error: unknown) => explainDenial(keys, asCallFailure(error, keyId, false), id, context));
  if (jwe.length > maxCiphertextBytes) {
    const message = `the KMS made a ciphertext of ${jwe.length} bytes; kube-apiserver takes ${maxCiphertextBytes}`;
    throw new ProviderError("RESPONSE_TOO_LARGE", message, { details: { ciphertextBytes: jwe.length } });
  }
  return { ciphertext: new TextEncoder().encode(jwe), annotations: {} };
}

async function decrypt(keys: ServiceKeys, ciphertext: Uint8Array, keyId: string, context: CallContext) {
  const jwe = jweOf(ciphertext);
  const plaintext = await keys.decrypt(checkKeyId(keyId), jwe, context).catch((error: unknown) => {
    throw asCallFailure(error, keyId, true);
  });
  checkPlaintextLength(jwe, plaintext.length);
  return plaintext;
}

/** The plaintext of another JWE, as of a reply to another request, has another length as a rule. */
function checkPlaintextLength(jwe: string, length: number): void {
  const possible = plaintextBytes(jwe);
  if (possible === undefined || (length >= possible.least && length <= possible.most)) return;
  const { least, most } = possible;
  const expected = least === most ? `${most}` : `${least} to ${most}`;
  const message = `decrypt: the KMS gave ${length} bytes for a JWE of ${expected}`;
  throw new RestError("REST_BODY", message, { status: 200 });
}

/** As the API writes it: the Go original kept in key_id what its flag said. */
function checkKeyId(keyId: string): string {
  const id = parseUuid(keyId);
  if (id === undefined)
    throw new ProviderError("REQUEST_KEY_ID_INVALID", "key_id is not the UUID of a service key");
  return id;
}

function jweOf(ciphertext: Uint8Array): string {
  if (ciphertext.byteLength === 0)
    throw new ProviderError("REQUEST_CIPHERTEXT_EMPTY", "the ciphertext is empty");
  if (ciphertext.byteLength > maxCiphertextBytes)
    throw new ProviderError(
      "REQUEST_CIPHERTEXT_TOO_LONG",
      `the ciphertext has ${ciphertext.byteLength} bytes, of at most ${maxCiphertextBytes}`,
    );
  // Latin 1 keeps every byte apart: one outside of ASCII fails the check.
  const text = Buffer.from(ciphertext).toString("latin1");
  if (!isCompactJwe(text))
    throw new ProviderError("REQUEST_CIPHERTEXT_INVALID", "the ciphertext is not a JWE in compact form");
  return text;
}

/** The API says 403 of a key that is not active, too: the key's state tells which. */
async function explainDenial(
  keys: ServiceKeys,
  denied: unknown,
  keyId: string,
  context: CallContext,
): Promise<never> {
  if (!(denied instanceof ProviderError) || denied.details["status"] !== 403) throw denied;
  const key = await keys.get(keyId, context).catch(() => undefined);
  if (key !== undefined) usable(key);
  throw denied;
}

function createKeyResolver(keys: ServiceKeys, selector: KeySelector): Encryptor["resolveKey"] {
  const find: (context: CallContext) => Promise<ServiceKey> =
    "id" in selector
      ? (context) => byId(keys, selector.id, context)
      : createLabelResolver(keys, selector.label);
  return async (context) => {
    try {
      return usable(await find(context));
    } catch (error) {
      throw asResolveFailure(error, selector);
    }
  };
}

/** For how long the key is read by its id where the list of keys has several pages. */
const walkAgainMs = 180_000;

/** Finds the key by its name. A long list is not read at each probe: while the key found has the name, it is read alone. */
function createLabelResolver(
  keys: ServiceKeys,
  label: string,
): (context: CallContext) => Promise<ServiceKey> {
  let known: { readonly id: string; readonly until: number } | undefined;
  return async (context) => {
    if (known !== undefined && performance.now() < known.until) {
      const key = await keys.get(known.id, context).catch((error: unknown) => {
        if (error instanceof RestError && error.status === 404) return undefined;
        throw error;
      });
      if (key?.name === label && isActive(key)) return key;
    }
    known = undefined;
    const { key, pages } = await byLabel(keys, label, context);
    if (pages > 1) known = { id: key.id, until: performance.now() + walkAgainMs };
    return key;
  };
}

async function byId(keys: ServiceKeys, id: string, context: CallContext): Promise<ServiceKey> {
  const wanted = checkKeyId(id);
  const key = await keys.get(wanted, context);
  if (parseUuid(key.id) !== wanted)
    throw new RestError("REST_BODY", `getKey: asked for ${id}, and got another key`, { status: 200 });
  return key;
}

/** Only where the list leaves something out is the key itself asked for. */
async function byLabel(
  keys: ServiceKeys,
  label: string,
  context: CallContext,
): Promise<{ readonly key: ServiceKey; readonly pages: number }> {
  const { found, pages } = await keys.findActive(label, context);
  const ids = [...new Set(found.map(({ id }) => id))];
  const [key] = found;
  if (key === undefined)
    throw new ProviderError("KEY_NOT_FOUND", `no active service key has the name "${label}"`);
  if (ids.length > 1) {
    const message = `${ids.length} active service keys have the name "${label}"`;
    throw new ProviderError("KEY_AMBIGUOUS", message, { details: { ids: ids.slice(0, 16).join(", ") } });
  }
  const isComplete = key.type && key.operations && key.attributes?.state;
  return { key: isComplete ? key : await byId(keys, key.id, context), pages };
}

function isActive({ attributes }: ServiceKey): boolean {
  return (attributes?.state ?? "active").toLowerCase() === "active";
}

/** What the API does not tell is not held against the key: the round trip of the deep probe shows it. */
function usable(key: ServiceKey): KeyInfo {
  const { id, name, type, size, operations, attributes } = key;
  const state = attributes?.state?.toLowerCase() ?? "active";
  if (type && type.toLowerCase() !== "oct") throw unusable(id, `it is of type ${quoted(type)}, not oct`);
  for (const needed of ["encrypt", "decrypt"])
    if (operations && !operations.some((one) => one.toLowerCase() === needed))
      throw unusable(id, `it is not for ${needed}`);
  if (state !== "active")
    throw new ProviderError("KEY_NOT_ACTIVE", `the service key ${id} is in state ${quoted(state)}`, {
      details: { keyId: id },
    });
  return { keyId: id, ...(name ? { name } : {}), ...(size ? { lengthBits: size } : {}) };
}

function unusable(id: string, why: string): ProviderError {
  return new ProviderError("KEY_UNUSABLE", `the service key ${id} can't be used: ${why}`, {
    details: { keyId: id },
  });
}

/** A word of the server's in a message: short, and printable. */
function quoted(word: string | null | undefined): string {
  return JSON.stringify((word ?? "").replaceAll(/[^\x20-\x7e]+/g, " ").slice(0, 32));
}

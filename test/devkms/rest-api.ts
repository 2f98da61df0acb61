/**
 * The Service Key API of the embedded KMS, as values: a request in, a reply out, on the key store that the KMIP
 * face has too. Transport and faults of it are rest-face.ts.
 */
import { randomUUID } from "node:crypto";
import type { Faults } from "./faults.ts";
import { openJwe, sealJwe } from "./jwe.ts";
import type { KeyState, KeyStore, StoredKey } from "./key-store.ts";

/** A call of the API, by its path. */
export interface ApiCall {
  readonly name: "encrypt" | "decrypt" | "getKey" | "listKeys" | "unknown";
  readonly keyId?: string;
  readonly query: URLSearchParams;
}

/** What is answered, before it is written as JSON. */
export interface ApiReply {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What the API works on. */
export interface ApiOptions {
  readonly keys: KeyStore;
  readonly faults: Faults;
  readonly okmsId: string;
  /** Most keys on one page of a list. */
  readonly pageSize: number;
}

/** Categories of error_code. */
const errorCategory = {
  argument: 2,
  authentication: 3,
  authorization: 4,
  notFound: 5,
  unavailable: 7,
  tooManyRequests: 9,
} as const;

const categoryOfStatus: Readonly<Record<number, number>> = {
  400: errorCategory.argument,
  401: errorCategory.authentication,
  403: errorCategory.authorization,
  404: errorCategory.notFound,
  429: errorCategory.tooManyRequests,
};

/** An error reply with a packed error_code: system 1, component 2, the category of the status. */
export function errorReply(status: number, message: string, detail = 7): ApiReply {
  const category = categoryOfStatus[status] ?? errorCategory.unavailable;
  const body = {
    error_code: ((1 << 24) | (2 << 16) | (category << 12) | detail) >>> 0,
    error_id: randomUUID(),
    errors: [message],
    request_id: randomUUID(),
  };
  return { status, body };
}

const pathPattern = /^\/api\/([^/]+)\/v1\/servicekey(?:\/([^/]+)(?:\/(encrypt|decrypt))?)?$/;

/** Which call a request is. */
export function callOf(method: string, url: string, okmsId: string): ApiCall {
  const { pathname, searchParams: query } = new URL(url, "https://kms");
  const [, domain, keyId, action] = pathPattern.exec(pathname) ?? [];
  if (domain !== okmsId) return { name: "unknown", query };
  if (action === "encrypt" || action === "decrypt")
    return { name: method === "POST" ? action : "unknown", query, ...(keyId && { keyId }) };
  if (method !== "GET") return { name: "unknown", query };
  return keyId === undefined ? { name: "listKeys", query } : { name: "getKey", keyId, query };
}

/** Answers a call. */
export function answer(call: ApiCall, body: string, options: ApiOptions): ApiReply {
  if (call.name === "unknown") return errorReply(404, "no such resource");
  if (call.name === "listKeys") return listKeys(call.query, options);
  const key = options.keys.get(call.keyId ?? "");
  if (key === undefined || key.state === "Destroyed") return errorReply(404, "no such service key");
  if (options.faults.deniedKeys.has(key.id)) return errorReply(403, "access to the service key is denied");
  if (call.name === "getKey") return { status: 200, body: describe(key) };
  return call.name === "encrypt" ? encrypt(key, body) : decrypt(key, body, options.faults);
}

function encrypt(key: StoredKey, body: string): ApiReply {
  const plaintext = fieldOf(body, "plaintext");
  if (plaintext === undefined || plaintext === "") return errorReply(400, "plaintext is missing");
  if (!isUsable(key, "Encrypt", ["Active"])) return errorReply(403, "the key does not allow encrypt");
  return { status: 200, body: { ciphertext: sealJwe(key, Buffer.from(plaintext, "base64")) } };
}

function decrypt(key: StoredKey, body: string, { decryptsTo }: Faults): ApiReply {
  const ciphertext = fieldOf(body, "ciphertext");
  if (ciphertext === undefined) return errorReply(400, "ciphertext is missing");
  if (!isUsable(key, "Decrypt", ["Active", "Deactivated", "Compromised"]))
    return errorReply(403, "the key does not allow decrypt");
  const plaintext = openJwe(key, ciphertext);
  if (plaintext === undefined) return errorReply(400, "the ciphertext can't be decrypted");
  return { status: 200, body: { plaintext: (decryptsTo ?? plaintext).toString("base64") } };
}

function isUsable(key: StoredKey, usage: "Encrypt" | "Decrypt", states: readonly KeyState[]): boolean {
  return key.algorithm === "AES" && key.usage.includes(usage) && states.includes(key.state);
}

/** One page; the token is where the next one begins. */
function listKeys(query: URLSearchParams, { keys, pageSize }: ApiOptions): ApiReply {
  const state = query.get("state");
  const all = keys.list().filter((key) => state === null || stateWords[key.state] === state);
  const size = Math.min(pageSize, Number(query.get("max") ?? pageSize));
  const start = Number(Buffer.from(query.get("continuation-token") ?? "", "base64url").toString());
  if (!Number.isInteger(start) || !(size >= 1)) return errorReply(400, "malformed page");
  const end = start + size;
  const isTruncated = end < all.length;
  return {
    status: 200,
    body: {
      objects_list: all.slice(start, end).map(describe),
      is_truncated: isTruncated,
      continuation_token: isTruncated ? Buffer.from(String(end)).toString("base64url") : "",
    },
  };
}

const stateWords: Readonly<Record<KeyState, string>> = {
  PreActive: "preactive",
  Active: "active",
  Deactivated: "deactivated",
  Compromised: "compromised",
  Destroyed: "destroyed",
};

function describe(key: StoredKey): unknown {
  return {
    id: key.id,
    name: key.names[0] ?? "",
    type: key.objectType === "SymmetricKey" && key.algorithm !== "RSA" ? "oct" : key.algorithm,
    size: key.lengthBits,
    operations: key.algorithm === "AES" ? key.usage.map((usage) => usage.toLowerCase()) : ["sign", "verify"],
    attributes: { state: stateWords[key.state] },
    created_at: key.createdAt.toISOString(),
  };
}

function fieldOf(body: string, name: string): string | undefined {
  try {
    const value = (JSON.parse(body) as Readonly<Record<string, unknown>> | null)?.[name];
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}

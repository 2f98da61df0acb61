/**
 * The Service Key calls of the OKMS REST API (`/api/{okmsId}/v1/servicekey`): encrypt, decrypt, get, list. Every
 * reply is checked to be what the API promises. Never asks for key material.
 */
import * as v from "valibot";
import { RestError } from "../errors.ts";
import type { CallContext } from "../upstream/context.ts";
import type { RestClient } from "./client.ts";
import { isHtml, parseJson } from "./error-body.ts";
import { type HttpReply, requestIdOf } from "./connection.ts";
import { isCompactJwe } from "./jwe.ts";

const callReplyBytes = 64 * 1024;
const pageReplyBytes = 1024 * 1024;
/** A bound for a server that never ends its list: 100 000 keys. */
const maxPages = 1_000;
const pageSize = 100;

const base64 = v.pipe(
  v.string(),
  v.regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/),
);

const encryptReply = v.object({ ciphertext: v.pipe(v.string(), v.check(isCompactJwe)) });

/** Nothing empty is ever encrypted here. */
const decryptReply = v.object({ plaintext: v.pipe(base64, v.nonEmpty()) });

const serviceKey = v.object({
  id: v.pipe(v.string(), v.uuid()),
  name: v.nullish(v.string()),
  type: v.nullish(v.string()),
  size: v.nullish(v.number()),
  operations: v.nullish(v.array(v.string())),
  attributes: v.nullish(v.object({ state: v.nullish(v.string()) })),
});

const keyPage = v.object({
  objects_list: v.nullish(v.array(serviceKey)),
  is_truncated: v.nullish(v.boolean()),
  continuation_token: v.nullish(v.string()),
});

/** A service key, as far as this program looks at it. What the API left out is null or undefined. */
export type ServiceKey = v.InferOutput<typeof serviceKey>;

/** The API, for one domain. All methods throw what {@link RestClient.call} does. */
export interface ServiceKeys {
  /** @returns a JWE in compact form @throws REST_BODY where the reply has none */
  encrypt(keyId: string, plaintext: Uint8Array, context: CallContext): Promise<string>;
  /** @returns the plaintext @throws REST_BODY where the reply has none */
  decrypt(keyId: string, jwe: string, context: CallContext): Promise<Uint8Array>;
  get(keyId: string, context: CallContext): Promise<ServiceKey>;
  /** The active keys whose name is exactly `name`, from all pages. */
  findActive(
    name: string,
    context: CallContext,
  ): Promise<{ readonly found: readonly ServiceKey[]; readonly pages: number }>;
}

/** Path of the cheapest call, to see whether a server answers. */
export function reachabilityPath(okmsId: string): string {
  return `${basePath(okmsId)}?max=1`;
}

/** The calls for the domain `okmsId`, which must have been checked to be a UUID. */
export function createServiceKeys(client: RestClient, okmsId: string): ServiceKeys {
  const base = basePath(okmsId);

  async function ask<T extends v.GenericSchema>(
    schema: T,
    call: { readonly name: string; readonly path: string; readonly body?: string },
    context: CallContext,
    maxReplyBytes = callReplyBytes,
  ): Promise<v.InferOutput<T>> {
    const method = call.body === undefined ? "GET" : "POST";
    const read = createReader(schema, call.name);
    return client.call({ ...call, method, maxReplyBytes, read }, context);
  }

  async function page(
    token: string | undefined,
    context: CallContext,
  ): Promise<v.InferOutput<typeof keyPage>> {
    const query = new URLSearchParams({ state: "active", max: String(pageSize) });
    if (token !== undefined) query.set("continuation-token", token);
    return ask(keyPage, { name: "listKeys", path: `${base}?${query.toString()}` }, context, pageReplyBytes);
  }

  return {
    async encrypt(keyId, plaintext, context) {
      const body = JSON.stringify({ plaintext: Buffer.from(plaintext).toString("base64") });
      const path = `${base}/${keyId}/encrypt`;
      const reply = await ask(encryptReply, { name: "encrypt", path, body }, context);
      return reply.ciphertext;
    },
    async decrypt(keyId, jwe, context) {
      const body = JSON.stringify({ ciphertext: jwe });
      const path = `${base}/${keyId}/decrypt`;
      const reply = await ask(decryptReply, { name: "decrypt", path, body }, context);
      return new Uint8Array(Buffer.from(reply.plaintext, "base64"));
    },
    get: (keyId, context) => ask(serviceKey, { name: "getKey", path: `${base}/${keyId}` }, context),
    async findActive(name, context) {
      const found: ServiceKey[] = [];
      const seen = new Set<string>();
      let token: string | undefined;
      let pages = 0;
      do {
        pages += 1;
        const reply = await page(token, context);
        found.push(...(reply.objects_list ?? []).filter((key) => key.name === name));
        token = nextToken(reply, seen);
      } while (token !== undefined);
      return { found, pages };
    },
  };
}

function basePath(okmsId: string): string {
  return `/api/${okmsId}/v1/servicekey`;
}

/** The token of the next page; undefined after the last. Each token is good once, lest a list go in circles. */
function nextToken(reply: v.InferOutput<typeof keyPage>, seen: Set<string>): string | undefined {
  const token = reply.continuation_token ?? "";
  if (reply.is_truncated !== true) return undefined;
  if (token === "" || seen.has(token) || seen.size >= maxPages)
    throw new RestError("REST_BODY", "listKeys: the list of keys has no end", { status: 200 });
  seen.add(token);
  return token;
}

/** A reader for {@link ask}. Its message names the field, never the value: a reply may hold a plaintext. */
function createReader<T extends v.GenericSchema>(schema: T, name: string) {
  return (reply: HttpReply, endpoint: string): v.InferOutput<T> => {
    const parsed = v.safeParse(schema, parseJson(reply.body));
    if (parsed.success) return parsed.output;
    const where =
      v.getDotPath(parsed.issues[0]) ??
      (isHtml(reply) ? "an HTML page, as of a proxy or a login" : "the body");
    const message = `${name}: the reply of ${endpoint} is not what the API promises (${where})`;
    throw new RestError("REST_BODY", message, {
      status: reply.status,
      requestId: requestIdOf(reply.headers),
    });
  };
}

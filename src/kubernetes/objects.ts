/**
 * Objects by their metadata only: pages of a list, and the PATCH that changes nothing. The API server writes an object
 * whose stored form is stale (k8s.io/apiserver, pkg/registry/generic/registry: GuaranteedUpdate), as one under an older
 * key is, and leaves every other one as it is. No field but the metadata comes here; of that, what is named below.
 */
import * as v from "valibot";
import { ProviderError } from "../errors.ts";
import { ApiError } from "./api-error.ts";
import type { ApiClient } from "./client.ts";
import { listPath, type ServedResource } from "./discovery.ts";

/** Of an object, what is needed to name it and to see whether it has been written since. */
export interface ObjectRef {
  /** Undefined for what is in no namespace. */
  readonly namespace: string | undefined;
  readonly name: string;
  readonly resourceVersion: string;
}

/** A page of a list. */
export interface Page {
  readonly objects: readonly ObjectRef[];
  /** For the next page; undefined at the end. */
  readonly continueToken: string | undefined;
  /** How many come after this page; undefined where the API server does not say. */
  readonly remaining: number | undefined;
}

/** What became of an object: `current` was not written, for it is stored as it would be written now. */
export type Touched = "rewritten" | "current" | "changed" | "gone";

const accept = (kind: string): string => `application/json;as=${kind};g=meta.k8s.io;v=v1`;
const metadataShape = v.object({
  metadata: v.object({
    name: v.string(),
    namespace: v.optional(v.string()),
    resourceVersion: v.string(),
  }),
});
const pageShape = v.object({
  kind: v.literal("PartialObjectMetadataList"),
  metadata: v.object({
    continue: v.optional(v.string()),
    remainingItemCount: v.optional(v.number()),
  }),
  items: v.nullish(v.array(metadataShape), []),
});

/**
 * Reads a page.
 * @param limit most objects
 * @throws ApiError; with status 410 where the token has expired
 */
export async function listPage(
  client: ApiClient,
  resource: ServedResource,
  { namespace, limit, continueToken }: ListOptions,
  signal: AbortSignal,
): Promise<Page> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (continueToken !== undefined) query.set("continue", continueToken);
  const path = listPath(resource, namespace);
  const reply = await client.request(
    { method: "GET", path: `${path}?${query}`, accept: accept("PartialObjectMetadataList") },
    signal,
  );
  const parsed = v.safeParse(pageShape, reply);
  if (!parsed.success) throw new ProviderError("REST_BODY", `GET ${path}: the answer is no list of metadata`);
  const { metadata, items } = parsed.output;
  return {
    objects: (items ?? []).map(({ metadata: { name, namespace: within, resourceVersion } }) => ({
      name,
      namespace: within,
      resourceVersion,
    })),
    continueToken: metadata.continue === "" ? undefined : metadata.continue,
    remaining: metadata.remainingItemCount,
  };
}

/** Which page of what. */
export interface ListOptions {
  /** Default: all. */
  readonly namespace?: string | undefined;
  readonly limit: number;
  readonly continueToken?: string | undefined;
}

/**
 * Makes the API server write an object again if what it has stored is stale. The resourceVersion in the patch lets the
 * API server refuse (409) where somebody has written the object since: that write was under the current key already.
 */
export async function touch(
  client: ApiClient,
  resource: ServedResource,
  { namespace, name, resourceVersion }: ObjectRef,
  signal: AbortSignal,
): Promise<Touched> {
  try {
    const reply = await client.request(
      {
        method: "PATCH",
        path: `${listPath(resource, namespace)}/${encodeURIComponent(name)}`,
        contentType: "application/merge-patch+json",
        accept: accept("PartialObjectMetadata"),
        body: { metadata: { resourceVersion } },
      },
      signal,
    );
    const written = v.safeParse(metadataShape, reply);
    const isSame = written.success && written.output.metadata.resourceVersion === resourceVersion;
    return isSame ? "current" : "rewritten";
  } catch (error) {
    if (error instanceof ApiError && error.status === 409) return "changed";
    if (error instanceof ApiError && error.status === 404) return "gone";
    throw error;
  }
}

/** What the API server serves: aggregated discovery (apidiscovery.k8s.io/v2, on in every API server that can use this plugin). */
import * as v from "valibot";
import { ProviderError } from "../errors.ts";
import type { ApiClient } from "./client.ts";

/** A resource in the version that its group prefers. */
export interface ServedResource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  /** The plural, as `secrets`. */
  readonly resource: string;
  readonly isNamespaced: boolean;
  readonly verbs: readonly string[];
}

const accept = ["v2", "v2beta1"]
  .map((version) => `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`)
  .join(",");

const shape = v.object({
  kind: v.literal("APIGroupDiscoveryList"),
  items: v.array(
    v.object({
      metadata: v.object({ name: v.optional(v.string(), "") }),
      versions: v.array(
        v.object({
          version: v.string(),
          resources: v.optional(
            v.array(
              v.object({
                resource: v.string(),
                scope: v.string(),
                verbs: v.optional(v.array(v.string()), []),
              }),
            ),
            [],
          ),
        }),
      ),
    }),
  ),
});

/** Every resource that is served, each once. @throws ProviderError */
export async function discover(client: ApiClient, signal: AbortSignal): Promise<ServedResource[]> {
  const found = new Map<string, ServedResource>();
  for (const path of ["/api", "/apis"]) {
    const parsed = v.safeParse(shape, await client.request({ method: "GET", path, accept }, signal));
    if (!parsed.success)
      throw new ProviderError("REST_BODY", `GET ${path}: the API server has no aggregated discovery`);
    for (const { metadata, versions } of parsed.output.items)
      for (const { version, resources } of versions)
        for (const { resource, scope, verbs } of resources) {
          const name = resourceName({ group: metadata.name, resource });
          // Versions come in the order of preference.
          if (!found.has(name))
            found.set(name, {
              group: metadata.name,
              version,
              resource,
              isNamespaced: scope === "Namespaced",
              verbs,
            });
        }
  }
  return [...found.values()];
}

/** As an EncryptionConfiguration names it: `secrets`, `deployments.apps`. */
export function resourceName({ group, resource }: Pick<ServedResource, "group" | "resource">): string {
  return group === "" ? resource : `${resource}.${group}`;
}

/** The path of a resource's list, in all namespaces or in one. */
export function listPath(
  { group, version, resource, isNamespaced }: ServedResource,
  namespace?: string,
): string {
  const root = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const within =
    isNamespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  return `${root}${within}/${resource}`;
}

/**
 * StorageVersionMigration (storagemigration.k8s.io/v1, v1beta1): an object that asks kube-controller-manager to rewrite
 * every object of a resource. The API server serves it whether or not a controller acts on it.
 */
import * as v from "valibot";
import { ProviderError } from "../errors.ts";
import { ApiError, oneLine } from "./api-error.ts";
import type { ApiClient } from "./client.ts";
import type { ServedResource } from "./discovery.ts";

/** The group, and the versions of it whose `spec.resource` is group and resource. */
export const migrationGroup = "storagemigration.k8s.io";
const versions = new Set(["v1", "v1beta1"]);
/** The resource's name. */
export const migrationResource = "storageversionmigrations";

/**
 * How far a migration is. `unseen`: no sign of a controller. A controller first notes the revision up to which it will
 * work, and says Running then or, in some versions, only when it has ended.
 */
export type MigrationState =
  | { readonly kind: "unseen" }
  | { readonly kind: "running" }
  | { readonly kind: "succeeded" }
  /** `message` fit for a log. */
  | { readonly kind: "failed"; readonly message: string };

/** The kind as it is served; undefined where it is not. */
export function servedMigration(served: readonly ServedResource[]): ServedResource | undefined {
  return served.find(
    ({ group, resource, version }) =>
      group === migrationGroup && resource === migrationResource && versions.has(version),
  );
}

const shape = v.object({
  status: v.optional(
    v.object({
      resourceVersion: v.optional(v.string(), ""),
      conditions: v.nullish(
        v.array(v.object({ type: v.string(), status: v.string(), message: v.optional(v.string(), "") })),
        [],
      ),
    }),
    { resourceVersion: "", conditions: [] },
  ),
});

/** The migrations of one run. */
export class Migrations {
  readonly #client: ApiClient;
  readonly #version: string;
  readonly #path: string;

  constructor(client: ApiClient, { version }: ServedResource) {
    this.#client = client;
    this.#version = version;
    this.#path = `/apis/${migrationGroup}/${version}/${migrationResource}`;
  }

  /** Asks for a migration of `resource`, unless one of that name has been asked for already. */
  async create(name: string, { group, resource }: ServedResource, signal: AbortSignal): Promise<void> {
    const body = {
      apiVersion: `${migrationGroup}/${this.#version}`,
      kind: "StorageVersionMigration",
      metadata: { name },
      spec: { resource: { group, resource } },
    };
    try {
      await this.#client.request({ method: "POST", path: this.#path, body }, signal);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 409)) throw error;
    }
  }

  /** @throws ApiError 404 where it has been deleted */
  async state(name: string, signal: AbortSignal): Promise<MigrationState> {
    const path = `${this.#path}/${name}`;
    const parsed = v.safeParse(shape, await this.#client.request({ method: "GET", path }, signal));
    if (!parsed.success) throw new ProviderError("REST_BODY", `GET ${path}: the answer is no migration`);
    const { resourceVersion, conditions: all } = parsed.output.status;
    const conditions = (all ?? []).filter(({ status }) => status === "True");
    const is = (type: string) => conditions.find((condition) => condition.type === type);
    const failed = is("Failed");
    if (failed !== undefined) return { kind: "failed", message: oneLine(failed.message) };
    if (is("Succeeded") !== undefined) return { kind: "succeeded" };
    const isSeen = is("Running") !== undefined || resourceVersion !== "";
    return isSeen ? { kind: "running" } : { kind: "unseen" };
  }

  /** Deletes one that has ended or that no controller acts on; a missing one is no failure. */
  async remove(name: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#client.request({ method: "DELETE", path: `${this.#path}/${name}` }, signal);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error;
    }
  }
}

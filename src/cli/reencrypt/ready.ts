/** What a run knows before it writes anything: the resources, the rights, and how many objects there are. */
import { readBounded } from "../../net/pem.ts";
import { ProviderError } from "../../errors.ts";
import { quote } from "../../text/quote.ts";
import { ApiError } from "../../kubernetes/api-error.ts";
import type { ApiClient } from "../../kubernetes/client.ts";
import { discover, resourceName, type ServedResource } from "../../kubernetes/discovery.ts";
import { servedMigration } from "../../kubernetes/migration.ts";
import { listPage } from "../../kubernetes/objects.ts";
import { isAllowed, type Right } from "../../kubernetes/rights.ts";
import { readEncryptionConfiguration } from "../check/encryption-config-file.ts";
import { nearest } from "../nearest.ts";
import type { ReencryptOptions } from "./options.ts";
import { planResources } from "./resources.ts";

/** The resources that an EncryptionConfiguration names, each once; none without a file. @throws ProviderError CONFIG */
export async function configuredResources(file: string | undefined): Promise<string[]> {
  if (file === undefined) return [];
  const bytes = await readBounded(file).catch((cause: unknown) => {
    throw new ProviderError("CONFIG", `cannot read ${quote(file)}: ${(cause as Error).message}`, { cause });
  });
  const read =
    bytes === undefined
      ? { complaints: ["longer than 1 MiB"] }
      : readEncryptionConfiguration(bytes.toString("utf8"));
  if ("complaints" in read)
    throw new ProviderError("CONFIG", `${quote(file)}: ${read.complaints.join("; ")}`);
  return [...new Set(read.resources.flatMap(({ resources }) => resources))];
}

/** What is to be rewritten, and what the caller may do. */
export interface Readiness {
  readonly resources: readonly ServedResource[];
  /** StorageVersionMigration as it is served; undefined where it is not, or where its rights are missing. */
  readonly migration: ServedResource | undefined;
  /** Why `migration` is undefined. */
  readonly noMigration: string;
  /** Rights that are missing to list and patch, as `list secrets`. */
  readonly missing: readonly string[];
  /** To be printed, one line each. */
  readonly notes: readonly string[];
}

/** Asks the API server. @throws ProviderError; CONFIG where a resource that was given by hand is not served */
export async function getReady(
  client: ApiClient,
  { namespace, method, encryptionConfig, resources: given }: ReencryptOptions,
  signal: AbortSignal,
): Promise<Readiness> {
  const configured = await configuredResources(encryptionConfig);
  const served = await discover(client, signal);
  const unknown = planResources(given, served).notServed;
  if (unknown.length > 0) throw new ProviderError("CONFIG", complaintOf(unknown[0] ?? "", served));
  const plan = planResources([...configured, ...given], served);
  const inNamespace = plan.resources.filter(({ isNamespaced }) => namespace === undefined || isNamespaced);
  const missing = method === "migration" ? [] : await lackingToPatch(inNamespace);
  const migration = servedMigration(served);
  const noMigration = await whyNoMigration();
  return {
    resources: inNamespace,
    migration: noMigration === "" ? migration : undefined,
    noMigration,
    missing,
    notes: [
      ...plan.notServed.map((name) => `${name}: not served by this API server, skipped`),
      ...plan.notPatchable.map((name) => `${name}: the API server allows no list and patch of it, skipped`),
    ],
  };

  async function whyNoMigration(): Promise<string> {
    if (method === "patch") return "it was not asked for";
    if (namespace !== undefined) return "it knows no single namespace";
    if (migration === undefined) return "this API server does not serve it";
    const lacking = await lackingOf(["create", "get", "delete"], migration);
    return lacking.length === 0 ? "" : `missing rights: ${lacking.join(", ")}`;
  }

  /** Of list and patch on resources those that are missing; an administrator is asked for once. */
  async function lackingToPatch(resources: readonly ServedResource[]): Promise<string[]> {
    const verbs = ["list", "patch"];
    if ((await lackingOf(verbs, { group: "*", resource: "*" })).length === 0) return [];
    const found: string[] = [];
    for (const resource of resources) found.push(...(await lackingOf(verbs, resource)));
    return found;
  }

  /** Of some verbs those that are missing, as `list secrets`. */
  async function lackingOf(
    verbs: readonly string[],
    { group, resource }: Pick<Right, "group" | "resource">,
  ): Promise<string[]> {
    const found: string[] = [];
    for (const verb of verbs)
      if (!(await isAllowed(client, { verb, group, resource, namespace }, signal)))
        found.push(`${verb} ${resourceName({ group, resource })}`);
    return found;
  }
}

function complaintOf(name: string, served: readonly ServedResource[]): string {
  const near = nearest(name, served.map(resourceName));
  const hint = near === undefined ? "" : `: did you mean ${near}?`;
  return `the API server serves no resource ${quote(name)}${hint}`;
}

/** How many objects there are; undefined where the API server does not say, or may not. */
export async function countObjects(
  client: ApiClient,
  resource: ServedResource,
  namespace: string | undefined,
  signal: AbortSignal,
): Promise<number | undefined> {
  try {
    const { objects, continueToken, remaining } = await listPage(
      client,
      resource,
      { namespace, limit: 1 },
      signal,
    );
    if (continueToken === undefined) return objects.length;
    return remaining === undefined ? undefined : objects.length + remaining;
  } catch (error) {
    // A resource that cannot be listed is reported when its turn comes.
    if (error instanceof ApiError) return undefined;
    throw error;
  }
}

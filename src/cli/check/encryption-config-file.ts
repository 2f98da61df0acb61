/**
 * An EncryptionConfiguration, read as YAML and by its shape. What is unknown is complained about: kube-apiserver
 * ignores or refuses a misspelt field, and neither is what was meant.
 */
import * as v from "valibot";
import { parseYaml } from "../../text/yaml.ts";

/** A `kms` provider, as it is written. */
export interface KmsProvider {
  /** As `resources[0].providers[1].kms`. */
  readonly path: string;
  readonly apiVersion?: string | undefined;
  readonly name?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly cachesize?: unknown;
  readonly timeout?: string | undefined;
}

/** One entry of `resources`. */
export interface Resource {
  readonly path: string;
  /** What is encrypted. */
  readonly resources: readonly string[];
  /** The kinds of the providers, in order. */
  readonly kinds: readonly string[];
  /** The names of each provider, in order: of a kms provider its own, of the others those of their keys. */
  readonly names: readonly (readonly string[])[];
  /** The kms providers, in order. */
  readonly kms: readonly KmsProvider[];
}

/** What a file came to. */
export type ReadConfiguration =
  | { readonly resources: readonly Resource[] }
  | { readonly complaints: readonly string[] };

const kmsShape = v.strictObject({
  apiVersion: v.optional(v.string()),
  name: v.optional(v.string()),
  endpoint: v.optional(v.string()),
  cachesize: v.optional(v.unknown()),
  timeout: v.optional(v.string("must be a duration with its unit, as 3s")),
});
const keysShape = v.looseObject({ keys: v.array(v.unknown()) });
const providerShape = v.pipe(
  v.strictObject({
    kms: v.optional(kmsShape),
    aesgcm: v.optional(keysShape),
    aescbc: v.optional(keysShape),
    secretbox: v.optional(keysShape),
    identity: v.optional(v.strictObject({})),
  }),
  v.check(
    (provider) => Object.keys(provider).length === 1,
    "must hold one provider, in an element of its own",
  ),
);
const shape = v.object({
  apiVersion: v.literal("apiserver.config.k8s.io/v1"),
  kind: v.literal("EncryptionConfiguration"),
  resources: v.pipe(
    v.array(
      v.strictObject({
        resources: v.pipe(v.array(v.string()), v.minLength(1, "must name a resource")),
        providers: v.pipe(v.array(providerShape), v.minLength(1, "must hold a provider")),
      }),
    ),
    v.minLength(1, "must hold an element"),
  ),
});

/** Maximum number of complaints reported at once. */
const mostComplaints = 5;

/** Reads the text of a file. Never prints a value of it: it may hold keys of other providers. */
export function readEncryptionConfiguration(text: string): ReadConfiguration {
  let value: unknown;
  try {
    value = parseYaml(text);
  } catch (error) {
    return { complaints: [(error as Error).message] };
  }
  const parsed = v.safeParse(shape, value);
  if (!parsed.success) return { complaints: parsed.issues.slice(0, mostComplaints).map(describeIssue) };
  return { resources: parsed.output.resources.map(toResource) };
}

function toResource(
  { resources, providers }: v.InferOutput<typeof shape>["resources"][number],
  index: number,
): Resource {
  const path = `resources[${index}]`;
  return {
    path,
    resources,
    kinds: providers.map((provider) => Object.keys(provider)[0] ?? ""),
    names: providers.map(({ kms, aescbc, aesgcm, secretbox }) => {
      const own = aescbc ?? aesgcm ?? secretbox;
      return own === undefined ? [kms?.name ?? ""] : own.keys.map(nameOfKey);
    }),
    kms: providers.flatMap(({ kms }, at) =>
      kms === undefined ? [] : [{ ...kms, path: `${path}.providers[${at}].kms` }],
    ),
  };
}

function nameOfKey(key: unknown): string {
  const parsed = v.safeParse(v.object({ name: v.string() }), key);
  return parsed.success ? parsed.output.name : "";
}

function describeIssue(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue) ?? "";
  const where = path === "" ? "the file" : path.replaceAll(/\.(\d+)/g, "[$1]");
  if (path === "" && issue.received === "null") return "the file is empty";
  if (issue.type === "strict_object") return `${where} is an unknown field`;
  if (issue.type === "literal") return `${where} must be ${issue.expected ?? ""}`;
  if (issue.type === "check" || issue.type === "min_length") return `${where} ${issue.message}`;
  if (issue.received === "undefined") return `${where} is missing`;
  if (issue.message.startsWith("must")) return `${where} ${issue.message}`;
  return `${where} must be ${(issue.expected ?? "").toLowerCase() || "something else"}`;
}

/** What an EncryptionConfiguration says of each resource: which provider writes, and which can be read (k8s.io/apiserver's rules). */
import { internalResources } from "../../etcd/builtin-resources.ts";
import type { Group } from "../../etcd/inventory.ts";
import { ProviderError } from "../../errors.ts";
import { readBounded, readFailure } from "../../net/pem.ts";
import { readEncryptionConfiguration, type Resource } from "../check/encryption-config-file.ts";
import { splitName } from "../check/encryption-config-resources.ts";

/** A provider, as it shows in the prefix of a value. */
export interface Provider {
  readonly kind: Group["kind"];
  /** Empty for plaintext. */
  readonly name: string;
}

/** What is wanted of one resource. */
export interface Rule {
  /** The first provider: it encrypts what is written. */
  readonly writer: Provider;
  /** All that can be read. */
  readonly readers: readonly Provider[];
}

/** Gives the rule for a resource, as `secrets` or `widgets.example.com`. */
export type Rules = (resource: string) => Rule;

const plaintext: Provider = { kind: "plaintext", name: "" };

/**
 * Reads a file.
 * @throws CONFIG where it cannot be read, or is no EncryptionConfiguration
 */
export async function readRules(file: string): Promise<Rules> {
  const bytes = await readBounded(file).catch((error: unknown) => {
    throw new ProviderError("CONFIG", `--encryption-config ${file}: ${readFailure(error)}`);
  });
  if (bytes === undefined)
    throw new ProviderError("CONFIG", `--encryption-config ${file} is longer than 1 MiB`);
  const read = readEncryptionConfiguration(bytes.toString("utf8"));
  if ("complaints" in read)
    throw new ProviderError("CONFIG", `--encryption-config ${file}: ${read.complaints.join("; ")}`);
  return rulesOf(read.resources);
}

/** A resource has those of the first entry that names it, or a wildcard for it. */
function rulesOf(entries: readonly Resource[]): Rules {
  return (resource) => {
    const entry = internalResources.has(resource)
      ? undefined
      : entries.find(({ resources }) => resources.some((pattern) => isMatch(pattern, resource)));
    const readers =
      entry === undefined ? [plaintext] : entry.kinds.flatMap((_kind, index) => providersOf(entry, index));
    return { writer: readers[0] ?? plaintext, readers };
  };
}

function isMatch(pattern: string, resource: string): boolean {
  if (pattern === resource || pattern === "*.*") return true;
  return pattern === `*.${splitName(resource).group}`;
}

/** One for each name: a provider with several keys reads them all, and writes with the first. */
function providersOf({ kinds, names, kms }: Resource, index: number): readonly Provider[] {
  const kind = kinds[index] ?? "";
  if (kind === "identity") return [plaintext];
  const own = names[index] ?? [];
  if (kind !== "kms") return own.map((name) => ({ kind: kind as Provider["kind"], name }));
  const version = kms.find(({ name }) => name === own[0])?.apiVersion;
  return own.map((name) => ({ kind: version === "v2" ? "kms-v2" : "kms-v1", name }));
}

/** Whether a group is of a provider. */
export function isOf(
  { kind, provider }: Pick<Group, "kind" | "provider">,
  { kind: ofKind, name }: Provider,
): boolean {
  return kind === ofKind && provider === name;
}

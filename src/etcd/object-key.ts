/**
 * An etcd key as the object that it names. kube-apiserver's keys are `/registry/RESOURCE/NAMESPACE/NAME` for built-in
 * resources and `/registry/GROUP/RESOURCE/NAMESPACE/NAME` for custom ones; a few have names of their own
 * (k8s.io/kubernetes, pkg/kubeapiserver/default_storage_factory_builder.go).
 */
import { builtinResources, storagePrefixes } from "./builtin-resources.ts";
import { keyRange } from "./source.ts";

/** The object that a key names. */
export interface ObjectKey {
  /** As an EncryptionConfiguration names it: `secrets`, `deployments.apps`, `widgets.example.com`. */
  readonly resource: string;
  /** Empty for what belongs to no namespace. */
  readonly namespace: string;
  readonly name: string;
}

/** Reads a key. A key of an unknown form is a resource of its first part, and a name of the rest. */
export function parseObjectKey(key: string, prefix: string): ObjectKey {
  const { start } = keyRange(prefix);
  const parts = (key.startsWith(start) ? key.slice(start.length) : key.replace(/^\//, "")).split("/");
  const [resource, ...rest] = resourceOf(parts);
  if (rest.length === 2) return { resource, namespace: rest[0] ?? "", name: rest[1] ?? "" };
  return { resource, namespace: "", name: rest.join("/") };
}

/** The resource with its group, and the parts behind it. */
function resourceOf([first = "", second, ...rest]: readonly string[]): readonly [string, ...string[]] {
  if (second === undefined) return [first];
  const own = storagePrefixes[`${first}/${second}`];
  if (own !== undefined) return [own, ...rest];
  // A group has a dot, and no built-in resource has one.
  if (first.includes(".")) return [`${second}.${first}`, ...rest];
  return [storagePrefixes[first] ?? withGroup(first), second, ...rest];
}

function withGroup(resource: string): string {
  const [group] = builtinResources[resource]?.split("/") ?? [];
  return group === undefined || group === "v1" ? resource : `${resource}.${group}`;
}

/** What people write: `default/name`, or `name` without a namespace. */
export function objectName({ namespace, name }: ObjectKey): string {
  return namespace === "" ? name : `${namespace}/${name}`;
}

/**
 * The path of an object in the API.
 * @param apiVersion of a custom resource, as `example.com/v1`; of a built-in one it is known
 * @returns undefined where neither is known
 */
export function apiPath({ resource, namespace, name }: ObjectKey, apiVersion?: string): string | undefined {
  const [plural = "", ...group] = resource.split(".");
  const version = apiVersion ?? builtinResources[plural];
  if (version === undefined || (apiVersion === undefined && groupOf(version) !== group.join(".")))
    return undefined;
  const root = version.includes("/") ? `/apis/${version}` : `/api/${version}`;
  const inside = namespace === "" ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${root}${inside}/${plural}/${encodeURIComponent(name)}`;
}

function groupOf(version: string): string {
  return version.includes("/") ? (version.split("/")[0] ?? "") : "";
}

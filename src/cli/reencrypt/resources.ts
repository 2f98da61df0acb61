/** Which resources are to be rewritten: names and wildcards as an EncryptionConfiguration has them, held to what is served. */
import { resourceName, type ServedResource } from "../../kubernetes/discovery.ts";
import { splitName } from "../check/encryption-config-resources.ts";

/** What names came to. */
export interface Plan {
  readonly resources: readonly ServedResource[];
  /** Names that the API server serves nothing under. */
  readonly notServed: readonly string[];
  /** Named ones that the API server serves without list and patch: no client can have them rewritten. */
  readonly notPatchable: readonly string[];
}

/**
 * Finds the resources that names stand for, each once.
 * @param names `secrets`, `deployments.apps`, `*.apps`, `*.` (the core group), `*.*`
 */
export function planResources(names: readonly string[], served: readonly ServedResource[]): Plan {
  const planned = new Map<string, ServedResource>();
  const notServed: string[] = [];
  const notPatchable: string[] = [];
  for (const name of names) {
    const found = served.filter((one) => isNamed(name, one));
    const patchable = found.filter(isPatchable);
    // Behind a wildcard there are those that are not stored at all, as tokenreviews.
    if (found.length === 0) notServed.push(name);
    else if (patchable.length === 0) notPatchable.push(name);
    for (const one of patchable) planned.set(resourceName(one), one);
  }
  // Both are the same objects, stored once.
  if (planned.has("events")) planned.delete("events.events.k8s.io");
  return { resources: [...planned.values()], notServed, notPatchable };
}

function isNamed(name: string, { group, resource }: ServedResource): boolean {
  const wanted = splitName(name);
  return (
    (wanted.group === "*" || wanted.group === group) &&
    (wanted.resource === "*" || wanted.resource === resource)
  );
}

function isPatchable({ verbs }: ServedResource): boolean {
  return verbs.includes("list") && verbs.includes("patch");
}

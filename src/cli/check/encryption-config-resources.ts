/** The `resources` lists of an EncryptionConfiguration, by kube-apiserver's rules for them. */
import { looksLikeKey, quote } from "../../text/quote.ts";
import type { Resource } from "./encryption-config-file.ts";
import { failed, ok, warning, type Finding } from "./finding.ts";

const name = "api resources";

/** Those that have no REST API, and so are never encrypted. */
const withoutApi = new Set(["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"]);

/** Checks the lists of the entries that this plugin is in. */
export function checkResources(entries: readonly Resource[]): Finding {
  for (const { path, resources } of entries) {
    const complaint = overlap(resources) ?? resources.map(complaintAbout).find((one) => one !== undefined);
    if (complaint !== undefined)
      return failed(
        name,
        `${path}: ${complaint}`,
        "name resources as secrets, configmaps, things.example.com, *.*",
      );
  }
  const all = entries.flatMap(({ resources }) => resources);
  if (!all.some((one) => one === "secrets" || one === "*." || one === "*.*"))
    return warning(
      name,
      `${all.join(", ")}: secrets are not among them`,
      "add secrets, if they are to be encrypted",
    );
  return ok(name, all.join(", "));
}

function complaintAbout(resource: string): string | undefined {
  const { resource: kind, group } = splitName(resource);
  if (looksLikeKey(resource)) return `${quote(resource)} is not the name of a resource`;
  if (resource !== resource.toLowerCase()) return `${quote(resource)} holds capital letters`;
  if (resource === "*") return `"*" must be written "*." (the core group) or "*.*" (all)`;
  if (withoutApi.has(resource)) return `${quote(resource)} has no REST API and cannot be encrypted`;
  if (group === "events.k8s.io") return `${quote(resource)} is stored as "events"`;
  if (group === "extensions") return `${quote(resource)}: the group extensions is gone`;
  if (group === "*" && kind !== "*") return `${quote(resource)}: one resource in all groups cannot be named`;
  return undefined;
}

/** The same resource twice in one list, or one that a wildcard of the list hides. */
function overlap(resources: readonly string[]): string | undefined {
  const twice = resources.find((one, index) => resources.indexOf(one) !== index);
  if (twice !== undefined) return `${quote(twice)} is there twice`;
  const parts = resources.map(splitName);
  const wildcard = parts.find(
    ({ resource, group }, index) =>
      resource === "*" && parts.some((other, at) => at !== index && (group === "*" || other.group === group)),
  );
  if (wildcard === undefined) return undefined;
  return `${quote(`${wildcard.resource}.${wildcard.group}`)} hides others of the same list`;
}

/**
 * The name of a resource, or a wildcard, in its parts: `deployments.apps` is `deployments` of the group `apps`; `secrets` is
 * of the core group, which is empty; `*` is all.
 */
export function splitName(text: string): { readonly resource: string; readonly group: string } {
  const [resource = "", ...group] = text.split(".");
  return { resource, group: group.join(".") };
}

/**
 * The command that deletes an object which cannot be read, for the operator to run: since Kubernetes 1.32 the API server
 * takes an option for it, behind the feature gate AllowUnsafeMalformedObjectDeletion (on by default from 1.37).
 */
import { apiPath, parseObjectKey } from "../../etcd/object-key.ts";
import { internalResources } from "../../etcd/builtin-resources.ts";
import { shellWord } from "../../text/quote.ts";

const options = {
  apiVersion: "v1",
  kind: "DeleteOptions",
  ignoreStoreReadErrorWithClusterBreakingPotential: true,
} as const;

/**
 * A line of shell.
 * @param apiVersions of custom resources that could be read
 * @returns undefined where the key names no object of the API
 */
export function deletionCommand(
  key: string,
  prefix: string,
  apiVersions: ReadonlyMap<string, string>,
): string | undefined {
  const object = parseObjectKey(key, prefix);
  if (object.name === "" || internalResources.has(object.resource)) return undefined;
  const group = object.resource.split(".").slice(1).join(".");
  const path = apiPath(object) ?? apiPath(object, apiVersions.get(object.resource) ?? `${group}/VERSION`);
  if (path === undefined || (group === "" && apiPath(object) === undefined)) return undefined;
  return `echo ${shellWord(JSON.stringify(options))} | kubectl delete --raw ${shellWord(path)} -f -`;
}

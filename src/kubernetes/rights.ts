/** What the caller may do, as the API server itself says: SelfSubjectAccessReview (authorization.k8s.io/v1). */
import * as v from "valibot";
import { ProviderError } from "../errors.ts";
import type { ApiClient } from "./client.ts";

/** A verb on a resource. */
export interface Right {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  /** Default: in all namespaces. */
  readonly namespace?: string | undefined;
}

const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const shape = v.object({ status: v.object({ allowed: v.boolean() }) });

/** Whether the caller has a right. @throws ProviderError where the API server does not say */
export async function isAllowed(client: ApiClient, right: Right, signal: AbortSignal): Promise<boolean> {
  const body = {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SelfSubjectAccessReview",
    spec: { resourceAttributes: right },
  };
  const parsed = v.safeParse(shape, await client.request({ method: "POST", path, body }, signal));
  if (!parsed.success)
    throw new ProviderError("REST_BODY", `POST ${path}: the answer says nothing of rights`);
  return parsed.output.status.allowed;
}

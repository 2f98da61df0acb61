/** The rights that `reencrypt` needs, as manifests for kubectl. */
import { stringify } from "yaml";
import { migrationGroup, migrationResource } from "../../kubernetes/migration.ts";
import { splitName } from "../check/encryption-config-resources.ts";
import type { Method } from "./options.ts";

/** Of every object that is printed. */
const name = "okms-reencrypt";

/** What the rights are for. */
export interface RbacOptions {
  /** As an EncryptionConfiguration has them. */
  readonly resources: readonly string[];
  readonly method: Method;
  /** Default: all namespaces. */
  readonly namespace: string | undefined;
}

/** A service account with its role and binding, as YAML documents. */
export function renderRbac({ resources, method, namespace }: RbacOptions): string {
  const isCluster = namespace === undefined;
  const own = method === "migration" ? [] : ownRules(resources);
  const rules = isCluster && method !== "patch" ? [...own, migrationRule] : own;
  const home = namespace ?? "kube-system";
  const metadata = isCluster ? { name } : { name, namespace };
  const [role, binding] = isCluster ? ["ClusterRole", "ClusterRoleBinding"] : ["Role", "RoleBinding"];
  const apiVersion = "rbac.authorization.k8s.io/v1";
  const documents = [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace: home } },
    { apiVersion, kind: role, metadata, rules },
    {
      apiVersion,
      kind: binding,
      metadata,
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: role, name },
      subjects: [{ kind: "ServiceAccount", name, namespace: home }],
    },
  ];
  return documents.map((document) => stringify(document)).join("---\n");
}

const migrationRule = {
  apiGroups: [migrationGroup],
  resources: [migrationResource],
  verbs: ["create", "get", "delete"],
};

function ownRules(resources: readonly string[]): object[] {
  const byGroup = Map.groupBy(resources.map(splitName), ({ group }) => group);
  return [...byGroup].map(([group, names]) => ({
    apiGroups: [group],
    resources: names.some(({ resource }) => resource === "*") ? ["*"] : names.map(({ resource }) => resource),
    verbs: ["list", "patch"],
  }));
}

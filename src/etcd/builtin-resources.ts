/** The built-in resources of Kubernetes 1.37 by their API version, and the few whose keys in etcd are named otherwise. */

const versions: Readonly<Record<string, string>> = {
  v1: "bindings configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims persistentvolumes pods podtemplates replicationcontrollers resourcequotas secrets serviceaccounts services",
  "admissionregistration.k8s.io/v1":
    "mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings validatingwebhookconfigurations",
  "apiextensions.k8s.io/v1": "customresourcedefinitions",
  "apiregistration.k8s.io/v1": "apiservices",
  "apps/v1": "controllerrevisions daemonsets deployments replicasets statefulsets",
  "autoscaling/v2": "horizontalpodautoscalers",
  "batch/v1": "cronjobs jobs",
  "certificates.k8s.io/v1": "certificatesigningrequests",
  "coordination.k8s.io/v1": "leases",
  "discovery.k8s.io/v1": "endpointslices",
  "flowcontrol.apiserver.k8s.io/v1": "flowschemas prioritylevelconfigurations",
  "internal.apiserver.k8s.io/v1alpha1": "storageversions",
  "networking.k8s.io/v1": "ingressclasses ingresses ipaddresses networkpolicies servicecidrs",
  "node.k8s.io/v1": "runtimeclasses",
  "policy/v1": "poddisruptionbudgets",
  "rbac.authorization.k8s.io/v1": "clusterrolebindings clusterroles rolebindings roles",
  "resource.k8s.io/v1": "deviceclasses resourceclaims resourceclaimtemplates resourceslices",
  "scheduling.k8s.io/v1": "priorityclasses",
  "storage.k8s.io/v1":
    "csidrivers csinodes csistoragecapacities storageclasses volumeattachments volumeattributesclasses",
  "storagemigration.k8s.io/v1beta1": "storageversionmigrations",
};

/** Plural to API version, as `deployments` to `apps/v1`. */
export const builtinResources: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(versions).flatMap(([version, names]) => names.split(" ").map((name) => [name, version])),
);

/** What follows the prefix in etcd to the resource, where the two differ. */
export const storagePrefixes: Readonly<Record<string, string>> = {
  controllers: "replicationcontrollers",
  ingress: "ingresses.networking.k8s.io",
  minions: "nodes",
  "services/endpoints": "endpoints",
  "services/specs": "services",
};

/** What kube-apiserver keeps for itself, without a REST API: never encrypted. */
export const internalResources: ReadonlySet<string> = new Set(["masterleases", "peerserverleases", "ranges"]);

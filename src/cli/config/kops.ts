/**
 * What kOps needs: hosts are made from the cluster's specification alone, so the plugin's static Pod and its files are
 * `fileAssets` of it, and the EncryptionConfiguration is a secret of kOps'. Source: kOps' cluster specification, and
 * nodeup/pkg/model/kube_apiserver.go for the one folder of the host that its kube-apiserver has.
 */
import { encryptionConfiguration, type EncryptionConfigurationOptions } from "./encryption-configuration.ts";
import { materialFiles, yamlFile, type Instance, type OutputFile } from "./output.ts";
import { staticPod, type StaticPodOptions } from "./static-pod.ts";

/** The folder that kOps mounts into its kube-apiserver: the socket has to be in it. */
export const kopsSocketFolder = "/srv/kubernetes/kube-apiserver";

/** The secret and the part of the cluster's specification. */
export function kopsFiles(
  instances: readonly Instance[],
  encryption: EncryptionConfigurationOptions,
  pod: StaticPodOptions,
): OutputFile[] {
  const head = " kops create secret encryptionconfig -f THIS-FILE --name CLUSTER (--force to replace it)";
  const spec = { encryptionConfig: true, fileAssets: assetsOf(instances, pod) };
  const advice = ` Merge it into the cluster's specification: kops edit cluster. docs/kops.md has the order.
 fileAssets are not secret: anyone who can read the state store can read them. Replace each PASTE by the content of the
 file, or leave the private key out and copy it to the hosts in another way.`;
  return [
    encryptionConfiguration(encryption, { path: "encryption-configuration.yaml", head }),
    yamlFile("kops-cluster.yaml", advice, { spec }),
  ];
}

function assetsOf(instances: readonly Instance[], pod: StaticPodOptions): object[] {
  const files = new Set(instances.flatMap(({ config }) => Object.values(materialFiles(config))));
  const material = [...files].map((file, index) => ({
    name: `okms-tls-${index}`,
    path: file,
    mode: "0600",
    roles,
    content: `PASTE ${file}`,
  }));
  const manifests = instances.map((instance) => ({
    name: instance.name,
    // The kubelet of kOps reads every file of the folder.
    path: `/etc/kubernetes/manifests/${instance.name}.manifest`,
    roles,
    content: staticPod(instance, pod).text,
  }));
  return [...material, ...manifests];
}

const roles = ["ControlPlane"];

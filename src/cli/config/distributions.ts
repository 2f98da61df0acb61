/**
 * What kube-apiserver needs to load an EncryptionConfiguration, where a distribution starts it: the file itself, and
 * the distribution's own configuration. Sources: the references of kubeadm v1beta4, k3s and RKE2.
 */
import path from "node:path";
import { encryptionConfiguration, installPath } from "./encryption-configuration.ts";
import type { EncryptionConfigurationOptions } from "./encryption-configuration.ts";
import { type OutputFile, yamlFile } from "./output.ts";

type Distribution = "kubeadm" | "k3s" | "rke2";

/** The file and what makes the distribution's kube-apiserver load it. */
export function distributionFiles(
  distribution: Distribution,
  options: EncryptionConfigurationOptions,
): OutputFile[] {
  const location = locations[distribution];
  const sockets = options.providers.map(({ sock }) => sock).filter((sock) => !sock.startsWith("@"));
  const socketFolders = [...new Set(sockets.map((sock) => path.dirname(sock)))].toSorted();
  return [
    encryptionConfiguration(options, { path: location.file, head: location.head }),
    location.make(location.file, socketFolders),
  ];
}

interface Location {
  readonly file: string;
  /** The comment of the EncryptionConfiguration. */
  readonly head: string;
  readonly make: (file: string, socketFolders: readonly string[]) => OutputFile;
}

const locations: Readonly<Record<Distribution, Location>> = {
  kubeadm: {
    file: installPath,
    head: " On every control-plane host, before kube-apiserver gets its new flags: docs/kubeadm.md has the order.",
    make: kubeadm,
  },
  k3s: {
    file: "/etc/rancher/k3s/okms/encryption-configuration.yaml",
    head: ` On every k3s server, before it is restarted: docs/k3s.md has the order.
 If the server ran with --secrets-encryption, add its providers before identity, or what they wrote cannot be read.`,
    make: k3s,
  },
  rke2: {
    file: "/etc/rancher/rke2/okms/encryption-configuration.yaml",
    head: ` On every RKE2 server, before it is restarted: docs/rke2.md has the order.
 RKE2 encrypts Secrets by itself: add the providers of
 /var/lib/rancher/rke2/server/cred/encryption-config.json before identity, or what they wrote cannot be read.`,
    make: rke2,
  },
};

function flagsFor(file: string): { readonly name: string; readonly value: string }[] {
  return [
    { name: "encryption-provider-config", value: file },
    { name: "encryption-provider-config-automatic-reload", value: "true" },
  ];
}

function kubeadm(file: string, socketFolders: readonly string[]): OutputFile {
  const comment = ` For kubeadm 1.31 or later. A new cluster: part of the file of kubeadm init --config.
 A running one: merge it into the ClusterConfiguration (kubectl -n kube-system edit configmap kubeadm-config), so
 that an upgrade keeps it, and then have each host's manifest written: docs/kubeadm.md.`;
  return yamlFile(`${path.dirname(file)}/cluster-configuration.yaml`, comment, {
    apiVersion: "kubeadm.k8s.io/v1beta4",
    kind: "ClusterConfiguration",
    apiServer: {
      extraArgs: flagsFor(file),
      extraVolumes: [
        {
          name: "okms-configuration",
          // The folder: a file that is replaced by a rename would stay the old one in the Pod.
          hostPath: path.dirname(file),
          mountPath: path.dirname(file),
          readOnly: true,
          pathType: "DirectoryOrCreate",
        },
        ...socketFolders.map((folder, index) => ({
          name: index === 0 ? "okms-socket" : `okms-socket-${index}`,
          hostPath: folder,
          mountPath: folder,
          readOnly: true,
          pathType: "DirectoryOrCreate",
        })),
      ],
    },
  });
}

function argumentsFor(file: string): string[] {
  return flagsFor(file).map(({ name, value }) => `${name}=${value}`);
}

/** A `+` after a key adds to a list of the main file, where the key alone would replace it. */
function k3s(file: string): OutputFile {
  const comment = " Then restart k3s, one server after the other.";
  return yamlFile("/etc/rancher/k3s/config.yaml.d/okms.yaml", comment, {
    "kube-apiserver-arg+": argumentsFor(file),
  });
}

function rke2(file: string, socketFolders: readonly string[]): OutputFile {
  const folders = [path.dirname(file), ...socketFolders];
  const comment = " Then restart rke2-server, one server after the other.";
  return yamlFile("/etc/rancher/rke2/config.yaml.d/okms.yaml", comment, {
    "kube-apiserver-arg+": argumentsFor(file),
    "kube-apiserver-extra-mount+": folders.map((folder) => `${folder}:${folder}`),
  });
}

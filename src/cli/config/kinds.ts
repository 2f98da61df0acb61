/** What `config` can make, and its defaults: known to the help, which loads nothing else of this folder. */

/** The program's name, which units and Pods take too. */
const name = "okms-k8s-encryption-provider";

/** Values where no flag is given. */
export const defaults = {
  name,
  providerName: "okms-encryption-provider",
  exec: `/usr/local/bin/${name}`,
  /** Of a Pod, whose liveness the kubelet asks for over HTTP. */
  httpAddr: { name: "127.0.0.1:8088", host: "127.0.0.1", port: 8088 },
} as const;

/** What can be made. */
export const kinds = [
  "encryption-configuration",
  "systemd",
  "static-pod",
  "kubeadm",
  "k3s",
  "rke2",
  "kops",
] as const;
/** One of {@link kinds}. */
export type Kind = (typeof kinds)[number];

/** Whether the kind runs the plugin as a static Pod. */
export function runsPod(kind: Kind | undefined): boolean {
  return kind === "static-pod" || kind === "kops";
}

/** Whether the kind installs the plugin itself, and so needs the flags of serve. */
export function installsPlugin(kind: Kind | undefined): boolean {
  return kind === "systemd" || runsPod(kind);
}

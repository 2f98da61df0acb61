/**
 * `config`: prints what has to be installed for the flags given. Only the flags are here; what reads them and the
 * generators are in config/, loaded when they are asked for.
 */
import { defineCliCommand, type FlagSet } from "./command.ts";
import { defaults, kinds } from "./config/kinds.ts";
import { envFileFlag } from "./env-file.ts";
import { serveFlags } from "./serve-flags.ts";

const ownFlags = {
  "provider-name": {
    group: "CONFIG",
    type: "string",
    valueHint: "NAME",
    default: defaults.providerName,
    description:
      "name of the provider in the EncryptionConfiguration; part of what is stored, never to change",
  },
  "api-timeout": {
    group: "CONFIG",
    type: "string",
    valueHint: "DURATION",
    default: "3s",
    description: "how long kube-apiserver waits for an answer",
  },
  resources: {
    group: "CONFIG",
    type: "string",
    valueHint: "LIST",
    default: "secrets",
    description: "resources that kube-apiserver encrypts, separated by commas: secrets,configmaps",
  },
  instance: {
    group: "CONFIG",
    type: "string",
    valueHint: "NAME",
    default: defaults.name,
    description:
      "systemd, static-pod, kops: name of the units or of the Pod; after a rotation by id, the new one's",
  },
  exec: {
    group: "CONFIG",
    type: "string",
    valueHint: "PATH",
    default: defaults.exec,
    description: "systemd: where the program is installed",
  },
  node: {
    group: "CONFIG",
    type: "string",
    valueHint: "PATH",
    fallback: "the one that runs this command",
    description: "systemd: Node.js that runs the program; none for the single executable, which contains it",
  },
  user: {
    group: "CONFIG",
    type: "string",
    valueHint: "USER",
    fallback: "root, without capabilities",
    description: "systemd: user to run as; it must be able to read the key file",
  },
  image: {
    group: "CONFIG",
    type: "string",
    valueHint: "IMAGE",
    description: "static-pod, kops: image with the program on its PATH",
  },
  "selinux-type": {
    group: "CONFIG",
    type: "string",
    valueHint: "TYPE",
    description: "static-pod, kops: SELinux type of the Pod's process, such as spc_t",
  },
  out: {
    group: "CONFIG",
    type: "string",
    valueHint: "FOLDER",
    fallback: "standard output",
    description: "write the files to this folder; a file with the same content is not written again",
  },
  "rotate-to": {
    group: "ROTATION BY KEY ID",
    type: "string",
    valueHint: "ID",
    description: "identifier of the next key: print the files for both keys",
  },
  "rotate-name": {
    group: "ROTATION BY KEY ID",
    type: "string",
    valueHint: "NAME",
    fallback: "--provider-name with the next key's first letters",
    description: "name of the next key's provider",
  },
  "rotate-sock": {
    group: "ROTATION BY KEY ID",
    type: "string",
    valueHint: "PATH",
    fallback: "--sock with the same letters",
    description: "socket of the next key's plugin",
  },
  "rotate-step": {
    group: "ROTATION BY KEY ID",
    type: "string",
    valueHint: "STEP",
    default: "write",
    description:
      "read: the next key's provider comes second, for every API server first; write: it comes first",
  },
} as const satisfies FlagSet;

/** See the file's head. */
export const configCommand = defineCliCommand({
  name: "config",
  description:
    "print the files to install: systemd units, a static Pod, and the configuration of kube-apiserver",
  words: [{ name: "kind", description: kinds.join(", "), choices: kinds }],
  flags: { ...ownFlags, ...envFileFlag, ...serveFlags },
  epilog: `systemd and static-pod install the plugin: they take the flags of serve, from the command line and from the
environment, and write them out. The other kinds configure kube-apiserver:
encryption-configuration is the file by itself; kubeadm, k3s, rke2 and kops add what each of them needs to load it. They
need --sock only; kops, which includes the static Pod, also takes what static-pod takes.
The first line of each part is the path of the file.

With a label (--encryption-key-label) a rotation needs none of this: give the name to another key.

Examples
  okms-k8s-encryption-provider config kubeadm --sock /run/okms-k8s-encryption-provider/main.sock
  okms-k8s-encryption-provider config encryption-configuration --environment-file /etc/okms/main.env \\
    --out /etc/kubernetes/okms

Exit code: 0 the files are printed or written, 1 a file cannot be written, 2 the command line is wrong.`,
  async run(invocation) {
    const { readOptions } = await import("./config/options.ts");
    const options = readOptions(invocation);
    const { runConfig } = await import("./config/run.ts");
    return runConfig(options, invocation);
  },
});

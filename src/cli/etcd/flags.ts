/** The flags of `audit`, `recover` and `reencrypt` that name etcd's data, and the KMS that decrypts it. */
import type { FlagSet } from "../command.ts";
import { connectionFlags } from "../serve-flags.ts";

/** Of a running etcd: etcdctl's own names and variables. */
export const liveFlags = {
  endpoints: {
    group: "ETCD",
    type: "string",
    list: true,
    valueHint: "URL[,…]",
    env: "ETCDCTL_ENDPOINTS",
    description: "a running etcd, such as https://127.0.0.1:2379; of several, the next is used if one fails",
  },
  cacert: {
    group: "ETCD",
    type: "string",
    valueHint: "FILE",
    env: "ETCDCTL_CACERT",
    fallback: "Node's roots",
    description: "PEM bundle that etcd's certificate must chain to",
  },
  cert: {
    group: "ETCD",
    type: "string",
    valueHint: "FILE",
    env: "ETCDCTL_CERT",
    description: "PEM certificate for mutual TLS with etcd",
  },
  key: {
    group: "ETCD",
    type: "string",
    valueHint: "FILE",
    env: "ETCDCTL_KEY",
    description: "PEM private key of that certificate",
  },
  "etcd-prefix": {
    group: "ETCD",
    type: "string",
    valueHint: "PREFIX",
    default: "/registry",
    description: "kube-apiserver's --etcd-prefix",
  },
} as const satisfies FlagSet;

/** Every source: a running etcd, or files. */
export const sourceFlags = {
  ...liveFlags,
  snapshot: {
    group: "FILES",
    type: "string",
    list: true,
    valueHint: "FILE[,…]",
    description: "a snapshot of etcd (etcdctl snapshot save); can be given several times",
  },
  "skip-hash-check": {
    group: "FILES",
    type: "boolean",
    description: "read a snapshot without its SHA-256: a copy of etcd's own file member/snap/db",
  },
  kine: {
    group: "FILES",
    type: "string",
    list: true,
    valueHint: "FILE[,…]",
    description: "the SQLite database of k3s or RKE2 (server/db/state.db), which may be in use",
  },
  value: {
    group: "FILES",
    type: "string",
    valueHint: "FILE",
    description: "the bytes of one value (etcdctl get KEY --print-value-only); needs --key-path",
  },
  "key-path": {
    group: "FILES",
    type: "string",
    valueHint: "KEY",
    description: "the key of --value in etcd, such as /registry/secrets/default/name",
  },
} as const satisfies FlagSet;

/** The word that stands for standard input. */
export const stdinWord = {
  name: "[-]",
  description: "read what `etcdctl get --prefix /registry -w json` prints from standard input",
} as const;

const ofKms = Object.fromEntries(
  Object.entries(connectionFlags).map(([name, flag]) => [name, { ...flag, group: "KMS" }]),
) as unknown as typeof connectionFlags;

/** The flags of serve that lead to a KMS, and `--sock`, which leads to a plugin that runs. */
export const kmsFlags = {
  sock: {
    group: "KMS",
    type: "string",
    valueHint: "PATH",
    env: "OKMS_SOCK",
    description: "Unix socket of a running plugin, which decrypts in place of the flags below",
  },
  ...ofKms,
} as const satisfies FlagSet;

/** Splits the value of a list. */
export function listOf(text: string | undefined): string[] {
  return (text ?? "")
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

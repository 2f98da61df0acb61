/** What `reencrypt` is run with. */
import type { LiveSettings } from "../etcd/sources.ts";

/** `auto`: a StorageVersionMigration where the cluster serves it and a controller acts on it, else PATCHes of its own. */
export const methods = ["auto", "migration", "patch"] as const;
/** One of {@link methods}. */
export type Method = (typeof methods)[number];

/** See the file's head. */
export interface ReencryptOptions {
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  /** Path of an EncryptionConfiguration. */
  readonly encryptionConfig: string | undefined;
  /** Names given by hand, as an EncryptionConfiguration has them. */
  readonly resources: readonly string[];
  /** Default: all. */
  readonly namespace: string | undefined;
  readonly method: Method;
  /** Requests a second. */
  readonly qps: number;
  readonly isDryRun: boolean;
  readonly isPrintRbac: boolean;
  /** Where a run that was interrupted goes on. */
  readonly state: string | undefined;
  /** Audited at the end; undefined: no audit. */
  readonly etcd: LiveSettings | undefined;
  /** kube-apiserver's --etcd-prefix. */
  readonly etcdPrefix: string;
}

/**
 * `reencrypt`: makes the API server write again whatever it has stored under an older key.
 * The work is in reencrypt/, loaded only when it is asked for: it brings the Kubernetes client with it.
 */
import { quote } from "../text/quote.ts";
import { defineCliCommand } from "./command.ts";
import { listOf, liveFlags } from "./etcd/flags.ts";
import { methods } from "./reencrypt/options.ts";

const resourcePattern = /^(?:\*\.(?:\*|[a-z0-9.-]*)|[a-z0-9-]+(?:\.[a-z0-9.-]+)?)$/;
const mostQps = 10_000;

/** See the file's head. */
export const reencryptCommand = defineCliCommand({
  name: "reencrypt",
  description: "after a rotation: have the API server rewrite every object that is under an old key",
  flags: {
    "encryption-config": {
      group: "WHAT",
      type: "string",
      valueHint: "FILE",
      description: "kube-apiserver's EncryptionConfiguration: every resource in it is rewritten",
    },
    resource: {
      group: "WHAT",
      type: "string",
      list: true,
      valueHint: "NAME[,…]",
      description:
        "resources, as an EncryptionConfiguration names them: secrets, things.example.com, *.apps, *. (core), *.*",
    },
    namespace: {
      group: "WHAT",
      type: "string",
      valueHint: "NAME",
      fallback: "all",
      description: "only the objects of one namespace",
    },
    kubeconfig: {
      group: "CLUSTER",
      type: "string",
      valueHint: "FILE",
      fallback: "$KUBECONFIG, else ~/.kube/config, else the Pod's service account",
      description: "kubeconfig",
    },
    context: {
      group: "CLUSTER",
      type: "string",
      valueHint: "NAME",
      fallback: "the current one",
      description: "context of the kubeconfig",
    },
    method: {
      group: "HOW",
      type: "string",
      valueHint: "METHOD",
      default: "auto",
      description:
        "migration: StorageVersionMigration; patch: a PATCH of each object without a change; auto: migration if it works, else patch",
    },
    qps: {
      group: "HOW",
      type: "string",
      valueHint: "N",
      default: "50",
      description: "maximum number of requests per second; a StorageVersionMigration has its own rate",
    },
    state: {
      group: "HOW",
      type: "string",
      valueHint: "FILE",
      description:
        "file for the progress: after an interruption the same command continues there; deleted at the end",
    },
    "dry-run": {
      group: "HOW",
      type: "boolean",
      description: "write nothing: check the rights, and count the objects",
    },
    "print-rbac": {
      group: "HOW",
      type: "boolean",
      description: "print the role that this needs, for kubectl apply, and exit",
    },
    ...liveFlags,
  },
  epilog: `It reads the metadata of objects only, and overwrites nothing that is changed in the meantime.
After a rotation wait two minutes: by then every API server knows the new key. With --endpoints it ends with an audit
of etcd.

Examples
  okms-k8s-encryption-provider reencrypt --encryption-config /etc/kubernetes/okms/encryption-configuration.yaml \\
    --dry-run
  okms-k8s-encryption-provider reencrypt --resource secrets,configmaps --state reencrypt.json

Exit code: 0 everything is rewritten (and the audit is clean), 1 something is not, 2 the command line is wrong, 130 interrupted.`,
  async run({ read, stdout, stderr, env }) {
    const { parseLive } = await import("./etcd/sources.ts");
    const resources = listOf(read.text("resource"));
    for (const name of resources)
      if (!resourcePattern.test(name))
        read.complain(
          `Invalid value for --resource: ${quote(name)} is no name such as secrets or deployments.apps`,
        );
    const options = {
      kubeconfig: read.path("kubeconfig"),
      context: read.text("context"),
      encryptionConfig: read.path("encryption-config"),
      resources,
      namespace: read.text("namespace"),
      method: read.oneOf("method", methods) ?? "auto",
      qps: read.integer("qps", { min: 1, max: mostQps }),
      isDryRun: read.boolean("dry-run"),
      isPrintRbac: read.boolean("print-rbac"),
      state: read.path("state"),
      etcd: parseLive(read, read.path("key")),
      etcdPrefix: read.text("etcd-prefix") ?? liveFlags["etcd-prefix"].default,
    } as const;
    if (options.encryptionConfig === undefined && resources.length === 0)
      read.complain("Nothing to rewrite: give --encryption-config FILE, or --resource secrets");
    if (options.method === "migration" && options.namespace !== undefined)
      read.complain("--method migration knows no single namespace: leave out --namespace");
    read.finish();
    const { runReencrypt } = await import("./reencrypt/run.ts");
    return runReencrypt(options, { stdout, stderr, env });
  },
});

/**
 * `audit`: reports which key each object in etcd is under, and what is wrong. Needs a KMS for --verify only.
 * The work is in audit/, loaded only when it is asked for.
 */
import { existsSync } from "node:fs";
import type { SettingsReader } from "../config/settings.ts";
import { defineCliCommand } from "./command.ts";
import { serveFlags } from "./serve-flags.ts";
import { kmsFlags, listOf, liveFlags, sourceFlags, stdinWord } from "./etcd/flags.ts";

/** See the file's head. */
export const auditCommand = defineCliCommand({
  name: "audit",
  description: "report which key each object in etcd is under, and whether an old key can be destroyed",
  words: [stdinWord],
  otherDefaults: serveFlags,
  flags: {
    "key-id": {
      group: "AUDIT",
      type: "string",
      list: true,
      valueHint: "ID[,…]",
      description: "say whether this key of the KMS can be destroyed: whether any source still needs it",
    },
    verify: {
      group: "AUDIT",
      type: "boolean",
      description: "decrypt everything, and say what cannot be read and why; needs --sock or the KMS flags",
    },
    "encryption-config": {
      group: "AUDIT",
      type: "string",
      valueHint: "FILE",
      description:
        "kube-apiserver's EncryptionConfiguration: which resources must be encrypted, and by which provider",
    },
    json: { group: "AUDIT", type: "boolean", description: "print JSON" },
    textfile: {
      group: "AUDIT",
      type: "string",
      valueHint: "FILE",
      description: "write metrics for the textfile collector of node_exporter, as etcd_audit.prom",
    },
    ...sourceFlags,
    key: {
      ...sourceFlags.key,
      list: true,
      valueHint: "ID|FILE",
      description:
        "the same as --key-id; with --cert: the PEM private key of that certificate, where such a file is there",
    },
    ...kmsFlags,
  },
  epilog: `It writes nothing, in etcd or in the KMS, and does not print or keep what it decrypts.

Examples
  okms-k8s-encryption-provider audit --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt \\
    --cert /etc/kubernetes/pki/etcd/server.crt --key /etc/kubernetes/pki/etcd/server.key
  okms-k8s-encryption-provider audit --key-id d5b56080-33f6-45bc-9fca-df4dadadde16 --snapshot a.db --snapshot b.db
  okms-k8s-encryption-provider audit --verify --sock /run/okms-k8s-encryption-provider/main.sock --snapshot backup.db

Exit code: 0 everything is as it should be (with --key-id: the key may be destroyed), 1 something is not or a source
cannot be read, 2 the command line is wrong.`,
  async run({ read, words, env, stdout, stderr }) {
    const [{ parseSources }, { parseKms }] = await Promise.all([
      import("./etcd/sources.ts"),
      import("./etcd/kms.ts"),
    ]);
    const { keyFile, keyIds } = splitKeys(read, env);
    const sources = parseSources(read, words, keyFile);
    const verify = read.boolean("verify");
    const kms = verify ? parseKms(read, env) : undefined;
    if (verify && kms === undefined)
      read.complain("Missing KMS: --verify needs --sock of a running plugin, or the KMS flags of serve");
    const options = {
      sources,
      keyIds,
      kms,
      encryptionConfig: read.path("encryption-config"),
      isJson: read.boolean("json"),
      textfile: read.path("textfile"),
    };
    read.finish();
    const { runAudit } = await import("./audit/run.ts");
    return runAudit(options, { stdin: process.stdin, stdout, stderr });
  },
});

/**
 * `--key` is etcdctl's name for a file, and this command's for a key of the KMS: a value is the file where there is a
 * certificate to go with it, and a file of that name.
 */
function splitKeys(
  read: SettingsReader,
  env: NodeJS.ProcessEnv,
): {
  readonly keyFile: string | undefined;
  readonly keyIds: readonly string[];
} {
  const given = read.given("key");
  const named = listOf(read.text("key-id"));
  // A private key in place of its path has been complained about.
  const values = listOf(read.path("key"));
  if (given?.source.startsWith("--") === false) return { keyFile: values[0], keyIds: named };
  if (read.given("cert") === undefined) return { keyFile: undefined, keyIds: [...named, ...values] };
  const keyFile = values.find((value) => existsSync(value)) ?? (env[liveFlags.key.env] || undefined);
  return { keyFile, keyIds: [...named, ...values.filter((value) => value !== keyFile)] };
}

/**
 * `check`: with the flags of serve, checks before it is installed whether it will work, and if not, what to do.
 * The checks are in check/, loaded only when they are asked for.
 */
import { defineCliCommand } from "./command.ts";
import { envFileFlag } from "./env-file.ts";
import { serveFlags } from "./serve-flags.ts";

/** See the file's head. */
export const checkCommand = defineCliCommand({
  name: "check",
  description: "with the flags of serve: test everything that serve needs, and report what is wrong",
  flags: {
    "encryption-config": {
      group: "CHECK",
      type: "string",
      valueHint: "FILE",
      description: "also check this EncryptionConfiguration of kube-apiserver",
    },
    "encryption-config-sock": {
      group: "CHECK",
      type: "string",
      valueHint: "PATH",
      fallback: "--sock",
      description: "path of the socket in kube-apiserver, if it is mounted at another path there",
    },
    user: {
      group: "CHECK",
      type: "string",
      valueHint: "USER",
      description:
        "check as this user, with its groups and without capabilities, as a unit runs; requires root",
    },
    "as-unit": {
      group: "CHECK",
      type: "boolean",
      hidden: true,
      description: "systemd makes the socket",
    },
    json: { group: "CHECK", type: "boolean", description: "print JSON" },
    ...envFileFlag,
    ...serveFlags,
  },
  epilog: `Each check is a line: ✔ passed, ! a warning, ✖ failed (with what to do), — skipped since an earlier one failed.
It changes nothing, on this host or in the KMS, and never asks for key material. Run it as the user that serve runs as,
or as root with --user.

Examples
  okms-k8s-encryption-provider check --environment-file /etc/okms/main.env --user okms
  okms-k8s-encryption-provider check --environment-file /etc/okms/main.env --user okms \\
    --encryption-config /etc/kubernetes/okms/encryption-configuration.yaml

Exit code: 0 no check failed, 1 one did, 2 the command line is wrong.`,
  async run({ read, settings, env, stdout, stderr }) {
    const encryptionConfig = read.path("encryption-config");
    const encryptionConfigSock = read.path("encryption-config-sock");
    const isJson = read.boolean("json");
    const { parseServeConfig } = await import("../config/config.ts");
    const { config, warnings } = parseServeConfig(read, false, env);
    const user = read.text("user");
    if (user !== undefined) {
      const { checkAsUser } = await import("./check/as-user.ts");
      return checkAsUser({ user, settings, env, stdout, stderr });
    }
    const { runCheck } = await import("./check/run.ts");
    const isUnit = read.boolean("as-unit");
    return runCheck({ config, warnings, encryptionConfig, encryptionConfigSock, isUnit, isJson }, stdout);
  },
});

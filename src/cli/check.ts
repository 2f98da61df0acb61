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
  description: "with the flags of serve: try everything that serve needs, and report what is wrong",
  flags: {
    "encryption-config": {
      group: "CHECK",
      type: "string",
      valueHint: "FILE",
      description: "kube-apiserver's EncryptionConfiguration, to be checked too",
    },
    "encryption-config-sock": {
      group: "CHECK",
      type: "string",
      valueHint: "PATH",
      fallback: "--sock",
      description: "the socket's path as kube-apiserver has it, where it is mounted at another one",
    },
    user: {
      group: "CHECK",
      type: "string",
      valueHint: "USER",
      description: "judge as a unit with this user: with its groups, without capabilities; needs root",
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
Nothing is changed, here or in the KMS, and no key material is asked for. Run it as the user that serve runs as, or as
root with --user.

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

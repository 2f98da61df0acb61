/**
 * `check`: with the flags of serve, says before it is installed whether it will work, and if not, what to do.
 * The checks are in check/, loaded only when they are asked for.
 */
import { parseServeConfig } from "../config/config.ts";
import { defineCliCommand } from "./command.ts";
import { serveFlags } from "./serve-flags.ts";

/** See the file's head. */
export const checkCommand = defineCliCommand({
  name: "check",
  description: "with the flags of serve: try everything that serve needs, and say what is wrong",
  flags: {
    "encryption-config": {
      group: "CHECK",
      type: "string",
      valueHint: "FILE",
      description: "kube-apiserver's EncryptionConfiguration, to be checked as well",
    },
    json: { group: "CHECK", type: "boolean", description: "print JSON" },
    ...serveFlags,
  },
  epilog: `Each check is a line: ✔ well, ! to be known, ✖ wrong (with what to do), — not tried, for an earlier one failed.
Nothing is changed, here or in the KMS, and no key material is asked for. Run it as the user that serve runs as.

Exit code: 0 nothing is wrong, 1 something is, 2 the command line is wrong.`,
  async run({ read, stdout, env }) {
    const encryptionConfig = read.path("encryption-config");
    const isJson = read.boolean("json");
    const { config, warnings } = parseServeConfig(read, false, env);
    const { runCheck } = await import("./check/run.ts");
    return runCheck({ config, warnings, encryptionConfig, isJson }, stdout);
  },
});

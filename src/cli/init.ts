/**
 * `init`: for the first day. Makes the key where the KMS has none by that name, says which rights the certificate needs, and
 * proves them. The work is in init/, loaded only when it is asked for.
 */
import { defineCliCommand } from "./command.ts";
import { envFileFlag } from "./env-file.ts";
import { serveFlags } from "./serve-flags.ts";

/** See the file's head. */
export const initCommand = defineCliCommand({
  name: "init",
  description: "on the first day: make the key in the KMS, and prove the rights of the certificate",
  flags: {
    "prove-only": {
      group: "INIT",
      type: "boolean",
      description: "make no key: prove the rights of the certificate that serve is to use",
    },
    ...envFileFlag,
    ...serveFlags,
  },
  epilog: `Over KMIP, with --encryption-key-label: where no key has the label, makes one (AES, 256 bits, for Encrypt and Decrypt
alone, Sensitive, not Extractable) and activates it. Over REST it says what to do in the console of the KMS.
A key that is there already is left as it is. Which rights the certificate has beyond the need is found by making a second
key without a name, which is destroyed again at once. No key material is asked for.

Run it twice: with the certificate of an administrator to make the key, then with that of serve and --prove-only.

Exit code: 0 nothing is wrong, 1 something is, 2 the command line is wrong.`,
  async run({ read, env, stdout }) {
    const isProofOnly = read.boolean("prove-only");
    const { parseServeConfig } = await import("../config/config.ts");
    const { config } = parseServeConfig(read, false, env);
    const { runInit } = await import("./init/run.ts");
    return runInit({ config, isProofOnly }, stdout);
  },
});

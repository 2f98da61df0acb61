/**
 * `init`: creates the key where the KMS has none by that name, says which rights the certificate needs, and
 * verifies them. The work is in init/, loaded only when it is asked for.
 */
import { defineCliCommand } from "./command.ts";
import { envFileFlag } from "./env-file.ts";
import { serveFlags } from "./serve-flags.ts";

/** See the file's head. */
export const initCommand = defineCliCommand({
  name: "init",
  description: "create the key in the KMS, and verify the rights of the certificate",
  flags: {
    "prove-only": {
      group: "INIT",
      type: "boolean",
      description: "create no key: only verify the rights of the certificate that serve is going to use",
    },
    ...envFileFlag,
    ...serveFlags,
  },
  epilog: `Over KMIP, with --encryption-key-label: if no key has the label, creates one (AES, 256 bits, for Encrypt and Decrypt
only, Sensitive, not Extractable) and activates it. Over REST it says what to do in the console of the KMS.
An existing key is not changed. To find rights that serve does not need, it creates a second key without a name, and
destroys it at once. It never asks for key material.

Run it twice: with the certificate of an administrator to create the key, then with that of serve and --prove-only.

Examples
  okms-k8s-encryption-provider init --environment-file /etc/okms/main.env \\
    --client-cert admin-cert.pem --client-key admin-key.pem
  okms-k8s-encryption-provider init --environment-file /etc/okms/main.env --prove-only

Exit code: 0 nothing is wrong, 1 something is, 2 the command line is wrong.`,
  async run({ read, env, stdout }) {
    const isProofOnly = read.boolean("prove-only");
    const { parseServeConfig } = await import("../config/config.ts");
    const { config } = parseServeConfig(read, false, env);
    const { runInit } = await import("./init/run.ts");
    return runInit({ config, isProofOnly }, stdout);
  },
});

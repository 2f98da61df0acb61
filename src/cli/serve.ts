/** `serve`, the default command: answers kube-apiserver. The work is in serve/, loaded only when it is asked for. */
import { defineCliCommand } from "./command.ts";
import { serveFlags } from "./serve-flags.ts";

/** See the file's head. */
export const serveCommand = defineCliCommand({
  name: "serve",
  description: "answer kube-apiserver's KMS v2 calls with a key that never leaves the KMS",
  flags: serveFlags,
  epilog: `Flags take one dash or two, and "=" or a space before the value. A flag takes precedence over its variable.

Example
  okms-k8s-encryption-provider --protocol kmip --serv-addr eu-west-rbx.okms.ovh.net:5696 \\
    --encryption-key-label etcd --client-cert ~/.ovh-kms/cert.pem --client-key ~/.ovh-kms/key.pem

Signals: SIGTERM and SIGINT finish the calls in flight and exit; SIGHUP re-reads the certificate files.
Exit code: 0 ended by a signal, 1 the socket cannot be created, 2 the command line is wrong.
No other failure ends it.`,
  async run(invocation) {
    const { limitMemory } = await import("../process/memory.ts");
    limitMemory();
    const { serve } = await import("./serve/run.ts");
    return serve(invocation);
  },
});

/**
 * `probe`: calls a running plugin as kube-apiserver does, and says whether kube-apiserver would accept its answers.
 * Suits a systemd or Pod probe. The work is in probe/, loaded only when it is asked for.
 */
import { quote } from "../text/quote.ts";
import { defineCliCommand } from "./command.ts";
import { serveFlags } from "./serve-flags.ts";

/** Most rounds, and most at once, of one run. */
const most = { count: 100_000, concurrency: 1000 } as const;

/** See the file's head. */
export const probeCommand = defineCliCommand({
  name: "probe",
  description: "ask a running plugin for Status, Encrypt and Decrypt, as kube-apiserver does",
  flags: {
    sock: {
      ...serveFlags.sock,
      group: "PROBE",
      description:
        "Unix socket of the plugin: a path, @name, or an endpoint of an EncryptionConfiguration (unix://…)",
    },
    count: {
      group: "PROBE",
      type: "string",
      valueHint: "N",
      default: "1",
      description: "number of rounds of Status, Encrypt and Decrypt, each with new random bytes",
    },
    concurrency: {
      group: "PROBE",
      type: "string",
      valueHint: "N",
      default: "1",
      description: "number of rounds at the same time",
    },
    timeout: {
      group: "PROBE",
      type: "string",
      valueHint: "DURATION",
      default: "3s",
      description: "maximum time of a call: use the timeout of the EncryptionConfiguration",
    },
    watch: {
      group: "PROBE",
      type: "boolean",
      description: "repeat until interrupted, with a line for each run",
    },
    interval: {
      group: "PROBE",
      type: "string",
      valueHint: "DURATION",
      default: "10s",
      description: "time between two runs of --watch",
    },
    json: { group: "PROBE", type: "boolean", description: "print JSON, one object a run" },
  },
  epilog: `Examples
  okms-k8s-encryption-provider probe --sock /run/okms-k8s-encryption-provider/main.sock
  okms-k8s-encryption-provider probe --sock /run/okms-k8s-encryption-provider/main.sock --count 300 --concurrency 8

Exit code: 0 every call succeeded, 1 one failed (with --watch: in any run), 2 the command line is wrong.`,
  async run({ read, stdout }) {
    const { checkSockLength, parseEndpoint } = await import("./kms-endpoint.ts");
    const day = 86_400_000;
    const sock = read.path("sock") ?? "";
    const parsed = /^[a-z]+:\/\//.test(sock) ? parseEndpoint(sock) : { sock };
    if ("complaint" in parsed) read.complain(`Invalid value for --sock: ${quote(sock)}: ${parsed.complaint}`);
    else checkSockLength(read, parsed.sock);
    const options = {
      sock,
      count: read.integer("count", { min: 1, max: most.count }),
      concurrency: read.integer("concurrency", { min: 1, max: most.concurrency }),
      timeoutMs: read.durationMs("timeout", { min: 1, max: day }),
      intervalMs: read.durationMs("interval", { min: 100, max: day }),
      isWatch: read.boolean("watch"),
      isJson: read.boolean("json"),
    };
    read.finish();
    const { runProbe } = await import("./probe/run.ts");
    return runProbe(options, stdout);
  },
});

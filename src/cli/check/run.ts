/** Runs the checks in the order in which they build on one another, and prints each as soon as it is known. */
import type { Config } from "../../config.ts";
import { checkEncryptionConfig } from "./encryption-config.ts";
import { checkFiles } from "./files.ts";
import { isWell, renderFinding, renderJson, renderTotal } from "./finding.ts";
import type { Finding } from "./finding.ts";
import { checkKey, skipKey } from "./key.ts";
import { checkServer } from "./network.ts";
import { checkSocket } from "./socket.ts";

/** What `check` is run with. */
export interface CheckOptions {
  readonly config: Config;
  /** What is odd about the command line. */
  readonly warnings: readonly string[];
  /** Path of kube-apiserver's EncryptionConfiguration; undefined: not checked. */
  readonly encryptionConfig: string | undefined;
  readonly isJson: boolean;
}

/** Checks everything. @returns the exit code: 0 where nothing is wrong, else 1 */
export async function runCheck(options: CheckOptions, stdout: NodeJS.WritableStream): Promise<number> {
  const findings: Finding[] = [];
  const width = widthFor(options);
  for await (const finding of check(options)) {
    findings.push(finding);
    if (!options.isJson) stdout.write(renderFinding(finding, width));
  }
  stdout.write(options.isJson ? renderJson(findings) : renderTotal(findings));
  return isWell(findings) ? 0 : 1;
}

async function* check({ config, warnings, encryptionConfig }: CheckOptions): AsyncGenerator<Finding> {
  for (const message of warnings) {
    yield { name: "flags", status: "warning", message };
  }
  const { clientCert: cert, clientKey: key, ca } = config;
  const { findings, material } = await checkFiles({ cert, key, ca });
  yield* findings;
  let isReachable = false;
  for (const server of config.servers) {
    const way = await checkServer(server, config, material);
    yield* way.findings;
    isReachable ||= way.isReachable;
  }
  if (material !== undefined && isReachable) yield* await checkKey(config, material);
  else yield* skipKey(material === undefined ? "the files failed" : "no server can be reached");
  yield await checkSocket(config);
  if (encryptionConfig !== undefined) yield* await checkEncryptionConfig(encryptionConfig, config);
}

/** Of the column of names. */
function widthFor({ config: { servers, protocol } }: CheckOptions): number {
  const hosts = servers.map((server) => (protocol === "rest" ? new URL(server).host : server));
  return Math.max("api resources".length, ...hosts.map((host) => `tcp ${host}`.length));
}

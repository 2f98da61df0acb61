/** Runs the checks in the order in which they build on one another, and prints each as soon as it is known. */
import { type Config, tlsFilesOf } from "../../config/config.ts";
import { checkEncryptionConfig } from "./encryption-config.ts";
import { checkFiles } from "./files.ts";
import { hasPassed, renderFinding, renderJson, renderTotal, type Finding } from "./finding.ts";
import { checkKey, skipKey, type Sample } from "./key.ts";
import { checkServer } from "./network.ts";
import { checkSocket } from "./socket.ts";
import type { TlsMaterial } from "../../net/tls.ts";

/** What `check` is run with. */
export interface CheckOptions {
  readonly config: Config;
  /** Warnings about the command line. */
  readonly warnings: readonly string[];
  /** Path of kube-apiserver's EncryptionConfiguration; undefined: not checked. */
  readonly encryptionConfig: string | undefined;
  /** The socket's path in it, where that is not the plugin's own. */
  readonly encryptionConfigSock: string | undefined;
  /** Whether systemd makes the socket, as the unit of `config systemd` has it. */
  readonly isUnit: boolean;
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
  return hasPassed(findings) ? 0 : 1;
}

async function* check(options: CheckOptions): AsyncGenerator<Finding> {
  const { config, warnings, encryptionConfig, encryptionConfigSock, isUnit } = options;
  for (const message of warnings) {
    yield { name: "flags", status: "warning", message };
  }
  const { findings, material } = await checkFiles(tlsFilesOf(config));
  yield* findings;
  yield* checkServers(config, material);
  yield await checkSocket({ ...config, isUnit });
  if (encryptionConfig !== undefined)
    yield* await checkEncryptionConfig(encryptionConfig, {
      ...config,
      sock: encryptionConfigSock ?? config.sock,
    });
}

/** The connection to each server and the key there; where there are several, each must decrypt what the first good one encrypted. */
async function* checkServers(config: Config, material: TlsMaterial | undefined): AsyncGenerator<Finding> {
  const isOnly = config.servers.length === 1;
  let sample: Sample | undefined;
  for (const server of config.servers) {
    const endpoint = server.name;
    const atServer = (finding: Finding): Finding =>
      isOnly ? finding : { ...finding, name: `${finding.name} ${endpoint}` };
    const way = await checkServer(server, config, material);
    yield* way.findings;
    if (material === undefined || !way.isReachable) {
      const because = material === undefined ? "the files failed" : "the server can't be reached";
      yield* skipKey(because).map(atServer);
      continue;
    }
    const checked = await checkKey({ ...config, servers: [server] }, material, endpoint, sample);
    yield* checked.findings.map(atServer);
    sample ??= checked.sample;
  }
}

/** Of the column of names. */
function widthFor({ config: { servers } }: CheckOptions): number {
  const longest = servers.length === 1 ? "tcp" : "round trip";
  const names = servers.map(({ name }) => `${longest} ${name}`);
  return Math.max("api resources".length, ...names.map(({ length }) => length));
}

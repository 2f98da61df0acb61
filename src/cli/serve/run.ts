/**
 * Serving, from the command line to the end: log, metrics, encryptor, key status, certificates, socket, in that
 * order. The socket listens before the KMS is reached, and whatever the certificates are (docs/design.md, 1).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseServeConfig, type Config } from "../../config/config.ts";
import { createEncryptor } from "../../encryptors/index.ts";
import type { Encryptor } from "../../encryptors/encryptor.ts";
import { endProcess } from "../../process/end-process.ts";
import { createLogger, type Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import { createStatusReporter } from "../../server/key/key-log.ts";
import { startHttpEndpoint, type HttpEndpoint } from "../../server/http.ts";
import { createKeyStatus, type KeyStatus } from "../../server/key/key-status.ts";
import { createKmsServer, type KmsServer } from "../../server/rpc/server.ts";
import type { ReloadResult, TlsWatch } from "../../net/tls-reload.ts";
import { isRestAddress } from "../../net/address.ts";
import { version } from "../../process/version.ts";
import type { Invocation } from "../command.ts";
import { encryptorConfigOf } from "../encryptor-config.ts";
import { type MaterialInUse, watchCertificates } from "./certificates.ts";
import { createKmsReporter } from "./kms-events.ts";
import { metricsFor } from "./metrics.ts";
import { guardProcess, untilAskedToEnd } from "./process.ts";

/** For how long the certificates may be read before the socket listens all the same, in ms. They take 5. */
const certificatesHeadStartMs = 250;
/** Time beyond --timeout in which the end must have come, in ms. */
const endGraceMs = 3_000;

/** What is running. */
interface Running {
  readonly config: Config;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly encryptor: Encryptor;
  readonly material: MaterialInUse;
  readonly status: KeyStatus;
  readonly server: KmsServer;
}

/**
 * Serves until a signal asks for the end.
 * @returns 0 ended as asked, 1 the socket could not be had
 * @throws ConfigError
 */
export async function serve({ read, env, stderr }: Invocation): Promise<number> {
  const stream: typeof stderr & { readonly isTTY?: boolean } = stderr;
  const { config, warnings } = parseServeConfig(read, stream.isTTY === true, env);
  const logger = createLogger({ level: config.logLevel, format: config.logFormat, stream });
  const { protocol, servers, key } = config;
  logger.info("starting", { version, protocol, servers: servers.map(({ name }) => name).join(","), ...key });
  for (const server of servers)
    if (isRestAddress(server) && server.proxy !== undefined)
      logger.info("connecting through the proxy of HTTPS_PROXY", {
        endpoint: server.name,
        proxy: server.proxy.name,
      });
  for (const warning of warnings) logger.warn(warning);

  const running = build(config, logger, await metricsFor(config), env);
  running.metrics.logLines(logger.lostLines);
  const watch = watchCertificates(running);
  guardProcess(logger, running.metrics);
  const asked = untilAskedToEnd(logger, async () => describeReload(await watch.reload()));
  // Read first, so that a Decrypt which waits for the socket can be sent on at once. Files that hang, as on a lost
  // network file system, keep the program neither from listening nor from its end.
  const certificates = watch.start();
  await Promise.race([certificates, asked, sleep(certificatesHeadStartMs, undefined, { ref: false })]);
  try {
    await Promise.race([running.server.listen(), asked]);
  } catch (error) {
    logger.error("cannot listen on the socket", { path: config.sock }, error);
    watch.stop();
    await running.encryptor.close();
    return 1;
  }
  // A name that DNS leaves without an answer keeps the program no more from its end than files do.
  const http = await Promise.race([startHttp(running), asked.then(() => undefined)]);
  await Promise.race([certificates, asked]);
  running.status.start();
  const signal = await asked;
  logger.info("ending", { signal, inflight: running.server.inflight() });
  await end(running, watch, http);
  logger.settle();
  logger.info("ended");
  logger.flush();
  return 0;
}

function build(config: Config, logger: Logger, metrics: Metrics, env: NodeJS.ProcessEnv): Running {
  const { timeoutMs, maxInflight } = config;
  const material: MaterialInUse = { current: undefined };
  const encryptor = createEncryptor(
    encryptorConfigOf(config, () => material.current),
    createKmsReporter(logger, metrics),
  );
  metrics.connections(() => encryptor.connections());
  const onEvent = createStatusReporter(logger, metrics);
  const status = createKeyStatus({ ...config, encryptor, graceMs: config.statusGraceMs, onEvent });
  const { sock: path, sockMode: mode, sockGroup: group, replace, sockInsecureDir: insecureDir } = config;
  const socket = { path, mode, group, replace, insecureDir, env };
  const server = createKmsServer({ encryptor, status, logger, metrics, timeoutMs, maxInflight, socket });
  return { config, logger, metrics, encryptor, material, status, server };
}

/** A refusal again: the log's own line of it may be folded into one from before. */
function describeReload(result: ReloadResult): string {
  if (result === "loaded") return "the certificate files are new, and in use";
  if (result === "unchanged") return "the certificate files have not changed";
  return `the certificate files are refused: ${result.message}`;
}

async function startHttp(running: Running): Promise<HttpEndpoint | undefined> {
  const { config, logger, metrics, status, server } = running;
  if (config.httpAddr === undefined) return undefined;
  return startHttpEndpoint({
    address: config.httpAddr,
    status,
    metrics,
    logger,
    listening: () => server.isReachable(),
  });
}

/** Calls in flight finish first: they need the encryptor and what is known of the key. */
async function end(running: Running, watch: TlsWatch, http: HttpEndpoint | undefined): Promise<void> {
  const { config, logger, encryptor, status, server } = running;
  const late = setTimeout(() => {
    logger.settle();
    logger.error("the end takes too long: ending at once");
    void endProcess(0);
  }, config.timeoutMs + endGraceMs);
  watch.stop();
  await server.close();
  await status.stop();
  await encryptor.close();
  await http?.close();
  clearTimeout(late);
}

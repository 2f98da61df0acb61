/**
 * Serving, from the command line to the end: log, metrics, socket, then all that the KMS needs. The socket listens before
 * the KMS is reached, and whatever the certificates are (docs/design.md, 1).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseServeConfig, type Config } from "../../config/config.ts";
import { endProcess } from "../../process/end-process.ts";
import { createLogger, type Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import { startHttpEndpoint, type HttpEndpoint } from "../../server/http.ts";
import { createKmsServer, type Backend, type KmsServer } from "../../server/rpc/server.ts";
import type { ReloadResult } from "../../net/tls-reload.ts";
import { isRestAddress } from "../../net/address.ts";
import { version } from "../../process/version.ts";
import type { Invocation } from "../command.ts";
import type { KmsSide } from "./kms.ts";
import { metricsFor } from "./metrics.ts";
import { guardProcess, untilAskedToEnd, watchPauses } from "./process.ts";

/** For how long the certificates may be read before connections are served all the same, in ms. They take 10. */
const certificatesHeadStartMs = 250;
/** Time beyond --timeout in which the end must have come, in ms. */
const endGraceMs = 3_000;

/** What is running. */
interface Running {
  readonly config: Config;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly server: KmsServer;
  readonly kms: KmsSide;
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

  const metrics = await metricsFor(config);
  metrics.logLines(logger.lostLines);
  const backend = Promise.withResolvers<Backend>();
  const server = createServer(config, logger, metrics, env, backend.promise);
  const built = Promise.withResolvers<KmsSide>();
  const asked = untilAskedToEnd(logger, async () =>
    describeReload(await (await built.promise).watch.reload()),
  );
  try {
    await Promise.race([server.listen(), asked]);
  } catch (error) {
    logger.error("cannot listen on the socket", { path: config.sock }, error);
    return 1;
  }
  const { buildKmsSide } = await import("./kms.ts");
  const kms = await buildKmsSide(config, logger, metrics);
  built.resolve(kms);
  guardProcess(logger, metrics);
  watchPauses(logger);
  // Read first, so that a Decrypt which waits in the socket can be sent on at once. Files that hang, as on a lost
  // network file system, keep the program neither from serving nor from its end.
  const certificates = kms.watch.start();
  await Promise.race([certificates, asked, sleep(certificatesHeadStartMs, undefined, { ref: false })]);
  backend.resolve(kms);
  const running = { config, logger, metrics, server, kms };
  // A name that DNS leaves without an answer keeps the program no more from its end than files do.
  const http = await Promise.race([startHttp(running), asked.then(() => undefined)]);
  await Promise.race([certificates, asked]);
  kms.status.start();
  const signal = await asked;
  logger.info("ending", { signal, inflight: server.inflight() });
  await end(running, http);
  logger.settle();
  logger.info("ended");
  logger.flush();
  return 0;
}

function createServer(
  config: Config,
  logger: Logger,
  metrics: Metrics,
  env: NodeJS.ProcessEnv,
  backend: Promise<Backend>,
): KmsServer {
  const { timeoutMs, maxInflight } = config;
  const { sock: path, sockMode: mode, sockGroup: group, replace, sockInsecureDir: insecureDir } = config;
  const socket = { path, mode, group, replace, insecureDir, env };
  return createKmsServer({ backend, logger, metrics, timeoutMs, maxInflight, socket });
}

/** A refusal again: the log's own line of it may be folded into one from before. */
function describeReload(result: ReloadResult): string {
  if (result === "loaded") return "the certificate files are new, and in use";
  if (result === "unchanged") return "the certificate files have not changed";
  return `the certificate files are refused: ${result.message}`;
}

async function startHttp(running: Running): Promise<HttpEndpoint | undefined> {
  const { config, logger, metrics, server, kms } = running;
  if (config.httpAddr === undefined) return undefined;
  return startHttpEndpoint({
    address: config.httpAddr,
    status: kms.status,
    metrics,
    logger,
    reach: () => server.reach(),
  });
}

/** Calls in flight finish first: they need the encryptor and what is known of the key. */
async function end(running: Running, http: HttpEndpoint | undefined): Promise<void> {
  const { config, logger, server, kms } = running;
  const late = setTimeout(() => {
    logger.settle();
    logger.error("the end takes too long: ending at once");
    void endProcess(0);
  }, config.timeoutMs + endGraceMs);
  kms.watch.stop();
  await server.close();
  await kms.status.stop();
  await kms.encryptor.close();
  await http?.close();
  clearTimeout(late);
}

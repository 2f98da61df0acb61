/**
 * Serving, from the command line to the end: log, metrics, encryptor, key status, certificates, socket, in that
 * order. The socket listens before the KMS is looked at, and whatever the certificates are (DESIGN.md, decision 1).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseServeConfig } from "../../config/config.ts";
import type { Config } from "../../config/config.ts";
import { createEncryptor } from "../../encryptors/index.ts";
import type { Encryptor } from "../../encryptors/encryptor.ts";
import { endProcess } from "../../process/end-process.ts";
import { createLogger } from "../../log/log.ts";
import type { Logger } from "../../log/log.ts";
import { createMetrics } from "../../metrics.ts";
import type { Metrics } from "../../metrics.ts";
import { createStatusReporter } from "../../server/rpc/call-log.ts";
import { startHttpEndpoint } from "../../server/http.ts";
import type { HttpEndpoint } from "../../server/http.ts";
import { createKeyStatus } from "../../server/key/key-status.ts";
import type { KeyStatus } from "../../server/key/key-status.ts";
import { createKmsServer } from "../../server/rpc/server.ts";
import type { KmsServer } from "../../server/rpc/server.ts";
import type { Look, TlsWatch } from "../../net/tls-reload.ts";
import { limitResidentMemory } from "../../process/memory.ts";
import { version } from "../../process/version.ts";
import type { Invocation } from "../command.ts";
import { watchCertificates } from "./certificates.ts";
import { createKmsReporter } from "./kms-events.ts";
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
  const { config, warnings } = parseServeConfig(read, stream.isTTY === true);
  const logger = createLogger({ level: config.logLevel, format: config.logFormat, stream });
  const { protocol, servers, key } = config;
  logger.info("starting", { version, protocol, servers: servers.join(","), ...key });
  for (const warning of warnings) logger.warn(warning);

  const running = build(config, logger, env);
  const watch = watchCertificates(running);
  guardProcess(logger, running.metrics);
  limitResidentMemory();
  const asked = untilAskedToEnd(logger, async () => tellLook(await watch.reload()));
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

function build(config: Config, logger: Logger, env: NodeJS.ProcessEnv): Running {
  const { protocol, key, probeIntervalMs, statusGraceMs: graceMs, timeoutMs, maxInflight } = config;
  const metrics = createMetrics({ version, protocol });
  const encryptor = createEncryptor(config, createKmsReporter(logger, metrics));
  metrics.connections(() => encryptor.connections());
  const onEvent = createStatusReporter(logger, metrics);
  const status = createKeyStatus({ encryptor, key, probeIntervalMs, graceMs, timeoutMs, onEvent });
  const { sock: path, sockMode: mode, sockGroup: group, replace } = config;
  const socket = { path, mode, group, replace, env };
  const server = createKmsServer({ encryptor, status, logger, metrics, timeoutMs, maxInflight, socket });
  return { config, logger, metrics, encryptor, status, server };
}

/** A refusal again: the log's own line of it may be folded into one from before. */
function tellLook(look: Look): string {
  if (look === "taken") return "the certificate files are new, and in use";
  if (look === "unchanged") return "the certificate files have not changed";
  return `the certificate files are refused: ${look.message}`;
}

async function startHttp(running: Running): Promise<HttpEndpoint | undefined> {
  const { config, logger, metrics, status, server } = running;
  if (config.httpAddr === undefined) return undefined;
  return startHttpEndpoint({
    addr: config.httpAddr,
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

/** The KMS's side of serving: encryptor, key status, certificates. A chunk of its own, for the socket listens without any of it. */
import type { Config } from "../../config/config.ts";
import { createEncryptor } from "../../encryptors/index.ts";
import type { Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import type { TlsWatch } from "../../net/tls-reload.ts";
import { createStatusReporter } from "../../server/key/key-log.ts";
import { createKeyStatus } from "../../server/key/key-status.ts";
import type { Backend } from "../../server/rpc/server.ts";
import { encryptorConfigOf } from "../encryptor.ts";
import { type MaterialInUse, watchCertificates } from "./certificates.ts";
import { createKmsReporter } from "./kms-events.ts";

/** See the file's head. */
export interface KmsSide extends Backend {
  /** Hands the certificates to the encryptor. */
  readonly watch: TlsWatch;
}

/** Builds it; nothing is read and nobody is asked before the watch and the status are started. @throws CONFIG */
export async function buildKmsSide(config: Config, logger: Logger, metrics: Metrics): Promise<KmsSide> {
  const material: MaterialInUse = { current: undefined };
  const encryptor = await createEncryptor(
    encryptorConfigOf(config, () => material.current),
    createKmsReporter(logger, metrics),
  );
  metrics.connections(() => encryptor.connections());
  const onEvent = createStatusReporter(logger, metrics);
  const status = createKeyStatus({ ...config, encryptor, graceMs: config.statusGraceMs, onEvent });
  const watch = watchCertificates({ config, logger, metrics, encryptor, material, status });
  return { encryptor, status, watch };
}

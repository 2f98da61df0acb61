/** The PEM files of mutual TLS on their way to the encryptor: what the watch finds, for log, metrics and the key's status. */
import type { Config } from "../../config.ts";
import type { Encryptor } from "../../encryptors/encryptor.ts";
import { createEncryptor } from "../../encryptors/index.ts";
import { ProviderError, toProviderError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { Metrics } from "../../metrics.ts";
import type { KeyStatus } from "../../server/key-status.ts";
import type { TlsMaterial } from "../../tls.ts";
import { watchTlsMaterial } from "../../tls-watch.ts";
import type { Expiry, TlsWatch } from "../../tls-watch.ts";

/** What hears of the certificates. */
export interface CertificateListeners {
  readonly config: Config;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly encryptor: Encryptor;
  readonly status: KeyStatus;
}

/** The watch over the configured files; its `start` hands the first set on. */
export function watchCertificates(listeners: CertificateListeners): TlsWatch {
  const { config, logger, metrics, encryptor, status } = listeners;
  let isFirst = true;

  function onMaterial(material: TlsMaterial): void {
    encryptor.setTlsMaterial(material);
    metrics.certificates(material.notAfter);
    metrics.reload("ok");
    const until = material.notAfter[0]?.notAfter.toISOString();
    logger.info(isFirst ? "certificate loaded" : "new certificate loaded", {
      file: config.clientCert,
      until,
      fingerprint: material.fingerprint.slice(0, 16),
    });
    warnOfEarly(logger, material);
    status.probeSoon("certificate");
    isFirst = false;
  }

  return watchTlsMaterial(
    { cert: config.clientCert, key: config.clientKey, ca: config.ca },
    {
      objection: (material) => objectionTo(material, listeners),
      onMaterial,
      onRefused(error) {
        metrics.reload("refused");
        const stay = isFirst ? "; waiting for a good one" : "; the one in use stays";
        logger.error(`Could not load certificate: ${error.message}${stay}`, { code: error.code });
      },
      onExpiry(expiry) {
        tellExpiry(logger, expiry);
      },
    },
  );
}

/** Longest time for the KMS to take a new set, in ms. */
const trialMs = 4_000;

/**
 * Tries a new set at the KMS, on connections of its own. Only while the key is well with the one in use: what does not
 * work is not kept for its own sake.
 */
async function objectionTo(
  material: TlsMaterial,
  { config, status }: CertificateListeners,
): Promise<ProviderError | undefined> {
  if (status.snapshot().state !== "ok") return undefined;
  const trial = createEncryptor(config, () => undefined);
  try {
    trial.setTlsMaterial(material);
    await trial.resolveKey({ signal: AbortSignal.timeout(trialMs), deadline: performance.now() + trialMs });
    return undefined;
  } catch (error) {
    const { code, message } = toProviderError(error);
    return new ProviderError(code, `the KMS does not serve with it, which is tried again: ${message}`, {
      cause: error,
    });
  } finally {
    await trial.close();
  }
}

/** One that has expired is the watch's to tell. */
function warnOfEarly(logger: Logger, material: TlsMaterial): void {
  for (const { file, notBefore } of material.notAfter)
    if (notBefore !== undefined && notBefore > new Date()) {
      const fields = { file, notBefore: notBefore.toISOString() };
      logger.warn("the certificate is not valid yet: is the clock of this host right?", fields);
    }
}

function tellExpiry(logger: Logger, { file, notAfter, days }: Expiry): void {
  const fields = { file, notAfter: notAfter.toISOString() };
  if (days < 0) logger.error("a certificate in use has expired: the KMS will hardly take it", fields);
  else logger.warn(`a certificate in use expires in ${days} ${days === 1 ? "day" : "days"}`, fields);
}

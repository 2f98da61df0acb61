/** The PEM files of mutual TLS on their way to the encryptor: what the watch finds, for log, metrics and the key's status. */
import type { Config } from "../../config.ts";
import type { Encryptor } from "../../encryptors/encryptor.ts";
import type { Logger } from "../../log.ts";
import type { Metrics } from "../../metrics.ts";
import type { KeyStatus } from "../../server/key-status.ts";
import { dateTrouble } from "../../tls.ts";
import type { TlsMaterial } from "../../tls.ts";
import { watchTlsMaterial } from "../../tls-watch.ts";
import type { Expiry, TlsWatch } from "../../tls-watch.ts";

/** What hears of the certificates. */
export interface CertificateListeners {
  readonly config: Pick<Config, "clientCert" | "clientKey" | "ca">;
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
    if (dateTrouble(material).length > 0) tellDates(material);
    status.probeSoon("certificate");
    isFirst = false;
  }

  function tellDates(material: TlsMaterial): void {
    for (const trouble of dateTrouble(material)) logger.warn(`${trouble}; the KMS will hardly take it`);
  }

  return watchTlsMaterial(
    { cert: config.clientCert, key: config.clientKey, ca: config.ca },
    {
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

function tellExpiry(logger: Logger, { file, notAfter, days }: Expiry): void {
  const fields = { file, notAfter: notAfter.toISOString() };
  if (days < 0) logger.error("a certificate in use has expired", fields);
  else logger.warn(`a certificate in use expires in ${days} ${days === 1 ? "day" : "days"}`, fields);
}

/** The PEM files of mutual TLS on their way to the encryptor: what the watch finds, for log, metrics and the key's status. */
import { type Config, tlsFilesOf } from "../../config/config.ts";
import type { Encryptor } from "../../encryptors/encryptor.ts";
import { ProviderError } from "../../errors.ts";
import type { Logger } from "../../log/log.ts";
import type { Metrics } from "../../metrics.ts";
import type { KeyStatus } from "../../server/key/key-status.ts";
import type { TlsMaterial } from "../../net/tls.ts";
import { whyUnresolved } from "../encryptor.ts";
import { amount } from "../render.ts";
import { watchTlsMaterial, type Expiry, type TlsWatch } from "../../net/tls-reload.ts";

/** What hears of the certificates. */
export interface CertificateListeners {
  readonly config: Config;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly encryptor: Encryptor;
  readonly material: MaterialInUse;
  readonly status: KeyStatus;
}

/** The files that connections are made with now. */
export interface MaterialInUse {
  current: TlsMaterial | undefined;
}

/** The watch over the configured files; its `start` hands the first set on. */
export function watchCertificates(listeners: CertificateListeners): TlsWatch {
  const { config, logger, metrics, encryptor, status } = listeners;
  let isFirst = true;

  function onMaterial(material: TlsMaterial): void {
    listeners.material.current = material;
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

  return watchTlsMaterial(tlsFilesOf(config), {
    objection: (next, inUse) => objectionTo(next, inUse, listeners),
    onMaterial,
    onRefused(error, isNews) {
      metrics.reload("refused");
      if (!isNews) return;
      const stay = isFirst ? "; waiting for valid files" : "; the current ones stay in use";
      logger.error(`cannot load the certificate files: ${error.message}${stay}`, {
        file: config.clientCert,
        code: error.code,
      });
    },
    onMended() {
      logger.info("the certificate files are valid again: they are those in use", {
        file: config.clientCert,
      });
    },
    onExpiry(expiry) {
      tellExpiry(logger, expiry, config.ca);
    },
  });
}

/** Time for two sets side by side, in ms: a KMS that serves with neither within it cannot tell them apart. */
const quickMs = 700;
/** Time for a new set alone, where the one in use has just served, in ms. */
const trialMs = 4_000;

/**
 * Tries a new set at the KMS beside the one in use, on connections of their own. It is objected to only where the one in
 * use serves and the new one does not: a KMS that is unhealthy is no evidence against either.
 */
async function objectionTo(
  next: TlsMaterial,
  inUse: TlsMaterial,
  { config, status }: CertificateListeners,
): Promise<ProviderError | undefined> {
  if (status.snapshot().state !== "ok") return undefined;
  const [failure, other] = await Promise.all(
    [next, inUse].map((each) => whyUnresolved(config, each, quickMs)),
  );
  if (failure === undefined || other !== undefined) return undefined;
  const last = await whyUnresolved(config, next, trialMs);
  if (last === undefined) return undefined;
  const message = `the KMS does not accept them (tried again every 10 s): ${last.message}`;
  return new ProviderError(last.code, message, { cause: last });
}

/** One that has expired is reported by the watch. */
function warnOfEarly(logger: Logger, material: TlsMaterial): void {
  for (const { file, notBefore } of material.notAfter)
    if (notBefore !== undefined && notBefore > new Date()) {
      const fields = { file, notBefore: notBefore.toISOString() };
      logger.warn("the certificate is not valid yet: is the clock of this host right?", fields);
    }
}

function tellExpiry(logger: Logger, { file, notAfter, days }: Expiry, ca: string | undefined): void {
  const fields = { file, notAfter: notAfter.toISOString() };
  if (days < 0 && file === ca)
    logger.error("the CA of the KMS has expired: the KMS can't be verified", fields);
  else if (days < 0)
    logger.error("a certificate in use has expired: the KMS probably refuses new connections", fields);
  else
    logger.warn(
      `a certificate in use expires in ${days === 0 ? "less than a day" : amount(days, "days")}`,
      fields,
    );
}

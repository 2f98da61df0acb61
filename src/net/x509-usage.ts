/** What a certificate may be used for, beyond what node:crypto gives: its Key Usage (RFC 5280, section 4.2.1.3). */
import type { X509Certificate } from "node:crypto";
import { childrenOf, contentOf, DerError, DerTag, oidOf, readDer } from "./der.ts";

const keyUsageOid = "2.5.29.15";
const clientAuth = "1.3.6.1.5.5.7.3.2";
const anyUsage = "2.5.29.37.0";
/** The first bit of Key Usage. */
const digitalSignature = 0x80;

/** What a client's certificate lacks that a server may demand, one phrase each. */
export function missingUsage(certificate: X509Certificate): string[] {
  const extended = certificate.keyUsage as readonly string[] | undefined;
  const isClient = extended?.some((one) => one === clientAuth || one === anyUsage) ?? false;
  const usage = keyUsageOf(certificate.raw);
  return [
    ...(isClient
      ? []
      : [`its Extended Key Usage ${extended === undefined ? "is missing" : "is not for clients"}`]),
    ...(usage === undefined || (usage & digitalSignature) !== 0
      ? []
      : ["its Key Usage does not allow digital signatures, which TLS 1.3 needs"]),
  ];
}

/** Whether it is of X.509 version 1, without extensions: OpenSSL takes a self-signed one for a root. */
export function isVersion1({ raw }: X509Certificate): boolean {
  try {
    const [body] = childrenOf(readDer(raw), DerTag.sequence);
    return childrenOf(body, DerTag.sequence)[0]?.tag !== 0xa0;
  } catch (error) {
    if (error instanceof DerError) return false;
    throw error;
  }
}

/** The first eight bits of Key Usage; undefined where there is no such extension. */
function keyUsageOf(certificate: Buffer): number | undefined {
  try {
    const [body] = childrenOf(readDer(certificate), DerTag.sequence);
    const extensions = childrenOf(body, DerTag.sequence).find(({ tag }) => tag === 0xa3);
    if (extensions === undefined) return undefined;
    for (const extension of childrenOf(readDer(extensions.content), DerTag.sequence)) {
      const parts = childrenOf(extension, DerTag.sequence);
      if (oidOf(parts[0]) !== keyUsageOid) continue;
      return contentOf(readDer(contentOf(parts.at(-1), DerTag.octetString)), DerTag.bitString)[1] ?? 0;
    }
    return undefined;
  } catch (error) {
    // node:crypto has parsed it: OpenSSL decides about what is unusual here.
    if (error instanceof DerError) return undefined;
    throw error;
  }
}

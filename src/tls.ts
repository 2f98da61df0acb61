/**
 * The PEM files of mutual TLS: read, checked against one another, and handed on as one material. Watching
 * them for changes is cli/'s affair (src/tls-watch.ts).
 */

/** What a TLS connection to the KMS is made with. Never printed: `cert`, `key` and `ca` are non-enumerable. */
export interface TlsMaterial {
  /** PEM of the client certificate and its chain. */
  readonly cert: Buffer;
  /** PEM of its private key. */
  readonly key: Buffer;
  /** PEM bundle to verify the server with; undefined: the system's roots. */
  readonly ca: Buffer | undefined;
  /** SHA-256 over all three, hexadecimal: tells two materials apart. */
  readonly fingerprint: string;
  /** When the certificate that ends first in each file ends. */
  readonly notAfter: readonly { readonly file: string; readonly notAfter: Date }[];
}

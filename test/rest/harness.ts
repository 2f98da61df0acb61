/**
 * What the REST tests stand on: the embedded KMS's REST face with certificates of its own, and encryptors and
 * clients before it that are closed, and seen to be closed, when the test ends.
 */
import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";
import type { CallContext, Encryptor, KmsEvent } from "../../src/encryptors/encryptor.ts";
import { createRestEncryptor, type RestEncryptorOptions } from "../../src/encryptors/rest.ts";
import type { TlsMaterial } from "../../src/net/tls.ts";
import { type Authority, type CertificateOptions, createAuthority } from "../devkms/certificates.ts";
import { createFaults, type Faults } from "../devkms/faults.ts";
import { type KeyStore, openKeyStore } from "../devkms/key-store.ts";
import { type RestFace, type RestFaceOptions, startRestFace } from "../devkms/rest-face.ts";
import { parseRestAddress } from "../../src/net/address.ts";

/** A KMS with a REST face, and what a client of it needs. */
export interface RestKms {
  readonly face: RestFace;
  readonly url: string;
  readonly endpoint: string;
  readonly okmsId: string;
  readonly keys: KeyStore;
  readonly faults: Faults;
  readonly authority: Authority;
  readonly material: TlsMaterial;
}

const sharedAuthority = createAuthority();

/** A TLS material from PEM texts. */
export function materialOf(pem: { cert: string; key: string; ca?: string }): TlsMaterial {
  const ca = pem.ca === undefined ? undefined : Buffer.from(pem.ca);
  return { cert: Buffer.from(pem.cert), key: Buffer.from(pem.key), ca, fingerprint: "", notAfter: [] };
}

/** A client's material of `authority`, trusting `ca` or, by default, the same authority. */
export async function clientMaterial(authority: Authority, ca = authority.caPem): Promise<TlsMaterial> {
  const issued = await authority.issue({ commonName: "client", client: true });
  return materialOf({ ...issued, ca });
}

/** How a KMS is started: options of the face, and of its certificate. */
export type RestKmsOptions = Partial<RestFaceOptions> & {
  readonly certificate?: Partial<CertificateOptions>;
};

/** Starts a KMS that ends with the test. */
export async function startKms(t: TestContext, options: RestKmsOptions = {}): Promise<RestKms> {
  const { certificate, ...faceOptions } = options;
  const authority = await sharedAuthority;
  const issued = await authority.issue({
    commonName: "kms",
    ipAddresses: ["127.0.0.1"],
    server: true,
    ...certificate,
  });
  const okmsId = options.okmsId ?? randomUUID();
  const keys = options.keys ?? openKeyStore();
  const faults = options.faults ?? createFaults();
  const tls = { ...issued, ca: authority.caPem };
  const face = await startRestFace({ tls, ...faceOptions, okmsId, keys, faults });
  t.after(() => face.close());
  const endpoint = `127.0.0.1:${face.port}`;
  const material = await clientMaterial(authority);
  return { face, url: `https://${endpoint}`, endpoint, okmsId, keys, faults, authority, material };
}

/** An encryptor, and everything that it told. */
export interface Watched {
  readonly encryptor: Encryptor;
  readonly events: KmsEvent[];
  /** Resolves with the first event, past or future, that matches. */
  next(matches: (event: KmsEvent) => boolean): Promise<KmsEvent>;
}

/** Creates an encryptor before `kms`; closed with the test. */
export function watch(
  t: TestContext,
  kms: RestKms,
  options: Partial<RestEncryptorOptions> & Pick<RestEncryptorOptions, "key">,
): Watched {
  const events: KmsEvent[] = [];
  const waiting = new Set<(event: KmsEvent) => void>();
  const onEvent = (event: KmsEvent): void => {
    events.push(event);
    for (const tell of waiting) tell(event);
  };
  const encryptor = createRestEncryptor({
    servers: [parseRestAddress(kms.url)],
    okmsId: kms.okmsId,
    ...options,
    onEvent,
  });
  encryptor.setTlsMaterial(kms.material);
  t.after(() => encryptor.close());
  return {
    encryptor,
    events,
    async next(matches) {
      const known = events.find(matches);
      if (known !== undefined) return known;
      const { promise, resolve } = Promise.withResolvers<KmsEvent>();
      const tell = (event: KmsEvent): void => {
        if (matches(event)) resolve(event);
      };
      waiting.add(tell);
      return promise.finally(() => waiting.delete(tell));
    },
  };
}

/** A caller with so much time. */
export function within(ms: number): CallContext {
  return { signal: AbortSignal.timeout(ms), deadline: performance.now() + ms };
}

/** A seed as kube-apiserver's. */
export const seed = new Uint8Array(32).map((_, index) => index * 7);

/** How often a call was made. */
export function callCount(kms: RestKms, name: string): number {
  return kms.face.calls.get(name) ?? 0;
}

/** Matches an error by its code. */
export function withCode(code: string | RegExp, message = /./): (error: unknown) => boolean {
  return (error) => {
    const { code: actual, message: text } = error as { code?: string; message: string };
    const isCode = typeof code === "string" ? actual === code : code.test(String(actual));
    if (!isCode || !message.test(text))
      throw new Error(`expected ${String(code)} ${String(message)}, got ${String(actual)}: ${text}`, {
        cause: error,
      });
    return true;
  };
}

/** A KMS with one key, and an encryptor that has connected to it once. */
export async function startWithKey(
  t: TestContext,
  http2 = true,
): Promise<{ kms: RestKms; keyId: string; watched: Watched }> {
  const kms = await startKms(t, { http2 });
  const keyId = kms.keys.create({ name: "kek" }).id;
  const watched = watch(t, kms, { key: { id: keyId } });
  await watched.encryptor.resolveKey(within(5_000));
  return { kms, keyId, watched };
}

/** How the exchanges ended, in order. */
export function outcomes(events: readonly KmsEvent[]): string[] {
  return events.flatMap((event) => (event.type === "exchange" ? [event.outcome] : []));
}

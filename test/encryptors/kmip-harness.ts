/** What the tests of the KMIP driver share: an encryptor before an embedded KMS, a caller's context. */
import type { CallContext, Encryptor, KeySelector, KmsEvent } from "../../src/encryptors/encryptor.ts";
import { createKmipEncryptor } from "../../src/encryptors/kmip.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { parseKmipAddress } from "../../src/net/address.ts";

/** An encryptor, with what it has told so far; closed at the end of its block. */
export interface TestEncryptor extends Encryptor, AsyncDisposable {
  readonly events: KmsEvent[];
  /** KMIP exchanges that were made since the last time this was asked, as `Locate+GetAttributes`. */
  exchanges(): string[];
}

/** Makes an encryptor for a key of the KMS. */
export async function encryptorFor(kms: DevKms, key: KeySelector): Promise<TestEncryptor> {
  const events: KmsEvent[] = [];
  const encryptor = createKmipEncryptor({
    servers: [parseKmipAddress(kms.kmipAddress)],
    key,
    onEvent: (event) => events.push(event),
  });
  encryptor.setTlsMaterial(await loadTlsMaterial(kms.clientFiles));
  let seen = 0;
  return {
    ...encryptor,
    events,
    exchanges: () => {
      const fresh = events.slice(seen);
      seen = events.length;
      return fresh.flatMap((event) =>
        event.type === "exchange" && event.operation !== "DiscoverVersions" ? [event.operation] : [],
      );
    },
    [Symbol.asyncDispose]: () => encryptor.close(),
  };
}

/** A caller with so much time. */
export function within(ms = 3000): CallContext {
  return { signal: AbortSignal.timeout(ms), deadline: performance.now() + ms, uid: "uid-of-the-call" };
}

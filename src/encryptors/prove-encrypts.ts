/**
 * Proves each Encrypt by a Decrypt before its result is handed out: a KMS whose replies slip, or that encrypts under
 * another key than it says, would leave Secrets that nobody can read again. Costs one round trip for each Encrypt, of
 * which kube-apiserver makes one at its start and one at each change of key.
 */
import { timingSafeEqual } from "node:crypto";
import { ProviderError, toProviderError } from "../errors.ts";
import type { CallContext, Encryptor, Wrapped } from "./encryptor.ts";

/** How often an Encrypt that fails its proof is made anew: a reply that slipped is a matter of one connection. */
const attempts = 2;

/** The encryptor, whose `encrypt` also throws what `decrypt` does, and KEY_SELF_TEST where other bytes come back. */
export function proveEncrypts(encryptor: Encryptor): Encryptor {
  return {
    protocol: encryptor.protocol,
    resolveKey: (context) => encryptor.resolveKey(context),
    decrypt: (request, context) => encryptor.decrypt(request, context),
    setTlsMaterial: (material) => encryptor.setTlsMaterial(material),
    connections: () => encryptor.connections(),
    close: () => encryptor.close(),
    encrypt: async (plaintext, keyId, context) => {
      for (let attempt = 1; ; attempt += 1) {
        const wrapped = await encryptor.encrypt(plaintext, keyId, context);
        const failure = await prove(encryptor, plaintext, keyId, wrapped, context);
        if (failure === undefined) return wrapped;
        if (attempt === attempts) throw failure;
      }
    },
  };
}

/** What is wrong with a result; undefined where it decrypts to the plaintext. @throws what `decrypt` does otherwise */
async function prove(
  encryptor: Encryptor,
  plaintext: Uint8Array,
  keyId: string,
  wrapped: Wrapped,
  context: CallContext,
): Promise<ProviderError | undefined> {
  try {
    const opened = await encryptor.decrypt({ ...wrapped, keyId }, context);
    if (opened.length === plaintext.length && timingSafeEqual(opened, plaintext)) return undefined;
    return selfTest(keyId, "Decrypt gave other bytes than Encrypt was given");
  } catch (error) {
    const failure = toProviderError(error);
    if (failure.code !== "REQUEST_CIPHERTEXT_INVALID") throw failure;
    return selfTest(keyId, "the KMS does not decrypt what it has just encrypted", failure);
  }
}

function selfTest(keyId: string, message: string, cause?: ProviderError): ProviderError {
  return new ProviderError("KEY_SELF_TEST", message, { details: { keyId }, cause });
}

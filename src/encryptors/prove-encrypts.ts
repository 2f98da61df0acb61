/**
 * Proves each Encrypt by a Decrypt before its result is handed out: a KMS whose replies slip, or that encrypts under
 * another key than it says, would leave Secrets that nobody can read again. Costs one round trip for each Encrypt, of
 * which kube-apiserver makes one at its start and one at each change of key.
 */
import { timingSafeEqual } from "node:crypto";
import { ProviderError, toProviderError } from "../errors.ts";
import type { CallContext, Encryptor, UnwrapRequest } from "./encryptor.ts";

/**
 * How often an Encrypt that fails its proof is repeated: a reply that slipped is a matter of one connection, and after
 * a failover the server that is active then both encrypts and decrypts.
 */
const attempts = 2;

/** The encryptor, whose `encrypt` also throws what `decrypt` does, and KEY_SELF_TEST where other bytes come back. */
export function proveEncrypts(encryptor: Encryptor): Encryptor {
  return {
    ...encryptor,
    encrypt: async (plaintext, keyId, context) => {
      for (let attempt = 1; ; attempt += 1) {
        let server: string | undefined;
        const onServer = (name: string): void => {
          server = name;
          context.onServer?.(name);
        };
        const wrapped = await encryptor.encrypt(plaintext, keyId, { ...context, onServer });
        const failure = await prove(encryptor, plaintext, { ...wrapped, keyId }, { ...context, server });
        if (failure === undefined) return wrapped;
        if (attempt === attempts) throw failure;
      }
    },
  };
}

/**
 * What is wrong with a result; undefined where it decrypts to the plaintext. The server that made it is asked. Where that
 * is lost meanwhile, another one is: its success proves more, its refusal nothing, since it may not have the key yet.
 * @param context its `server` is the one that made the result
 * @throws what `decrypt` does otherwise
 */
async function prove(
  encryptor: Encryptor,
  plaintext: Uint8Array,
  request: UnwrapRequest,
  context: CallContext,
): Promise<ProviderError | undefined> {
  const { keyId } = request;
  let asked = context.server;
  const onServer = (name: string): void => {
    asked = name;
  };
  try {
    const opened = await encryptor.decrypt(request, { ...context, onServer });
    if (opened.length === plaintext.length && timingSafeEqual(opened, plaintext)) return undefined;
    return selfTest(keyId, "Decrypt gave other bytes than Encrypt was given");
  } catch (error) {
    const failure = toProviderError(error);
    const isRefused = failure.refusal !== undefined || failure.kind === "key";
    if (failure.code === "REQUEST_CIPHERTEXT_INVALID")
      return selfTest(keyId, "the KMS does not decrypt what it has just encrypted", failure);
    if (isRefused && asked !== context.server) return failure;
    throw failure;
  }
}

function selfTest(keyId: string, message: string, cause?: ProviderError): ProviderError {
  return new ProviderError("KEY_SELF_TEST", message, { details: { keyId }, cause });
}

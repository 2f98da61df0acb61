/**
 * The KMS v2 service: protobuf to Encryptor and back, within the limits of limits.ts. Encrypt uses the key
 * that Status names; Decrypt uses the key that its request names.
 */
import { Code } from "@connectrpc/connect";
import { ProviderError, toProviderError } from "../../errors.ts";
import type { Encryptor } from "../../encryptors/encryptor.ts";
import { failureKind } from "../key/key-failure.ts";
import type { KeySnapshot, KeyStatus } from "../key/key-status.ts";
import type { Call } from "./call.ts";
import { contextOf } from "./call.ts";
import { CallError, callerMessage } from "./errors.ts";
import { checkPlaintext, checkUnwrapRequest, checkWrapped } from "./limits.ts";
import type { KmsMessages } from "./messages.ts";

/** A handler for each method: the request and its call to the reply. */
export interface KmsService {
  status(
    this: void,
    request: KmsMessages["StatusRequest"],
    call: Call,
  ): Promise<KmsMessages["StatusResponse"]>;
  encrypt(
    this: void,
    request: KmsMessages["EncryptRequest"],
    call: Call,
  ): Promise<KmsMessages["EncryptResponse"]>;
  decrypt(
    this: void,
    request: KmsMessages["DecryptRequest"],
    call: Call,
  ): Promise<KmsMessages["DecryptResponse"]>;
}

/** The version that Status reports, for the life of the plugin. */
const protocolVersion = "v2";

/** Makes the service. */
export function createKmsService(encryptor: Encryptor, status: KeyStatus): KmsService {
  return {
    async status(_request, call) {
      const { keyId, healthz } = await status.current(contextOf(call));
      call.keyId = keyId;
      return { version: protocolVersion, healthz, keyId };
    },

    async encrypt(request, call) {
      checkPlaintext(request.plaintext);
      const context = contextOf(call);
      const keyId = await status.encryptionKey(context);
      call.keyId = keyId;
      try {
        const wrapped = await encryptor.encrypt(request.plaintext, keyId, context);
        checkWrapped(wrapped, keyId);
        return { ciphertext: wrapped.ciphertext, keyId, annotations: { ...wrapped.annotations } };
      } catch (error) {
        const known = toProviderError(error);
        const isUnreachable = known.kind === "network" || known.kind === "timeout";
        if (isUnreachable || failureKind(known) === "permanent")
          status.probeSoon(`Encrypt failed with ${known.code}`);
        throw error;
      }
    },

    async decrypt(request, call) {
      checkUnwrapRequest(request);
      call.keyId = request.keyId;
      const { ciphertext, keyId, annotations } = request;
      try {
        return { plaintext: await encryptor.decrypt({ ciphertext, keyId, annotations }, contextOf(call)) };
      } catch (error) {
        const known = toProviderError(error);
        const now = status.snapshot();
        // Else Status would say ok until the next deep probe, while nothing can be read.
        if (now.state === "ok" && now.keyId === keyId && mayConcernKey(known, now))
          status.probeSoon(`Decrypt failed with ${known.code}`);
        throw decryptError(error);
      }
    },
  };
}

/** After a good deep probe a ciphertext that is refused is the ciphertext's fault for so long, in ms. */
const trustKeyMs = 60_000;

/** Whether a Decrypt with the current key may have failed because of the key: it is denied, gone, or its bytes were exchanged. */
function mayConcernKey(error: ProviderError, { lastDeepProbe }: KeySnapshot): boolean {
  if (failureKind(error) === "permanent") return true;
  const ageMs = lastDeepProbe === undefined ? Infinity : Date.now() - lastDeepProbe.getTime();
  return error.code === "REQUEST_CIPHERTEXT_INVALID" && ageMs > trustKeyMs;
}

/** An unknown key is here the fault of the request, which names it, and not of the configuration. */
function decryptError(error: unknown): unknown {
  if (!(error instanceof ProviderError) || error.code !== "KEY_NOT_FOUND") return error;
  return new CallError(Code.NotFound, callerMessage(error), error);
}

/**
 * The KMS v2 service: protobuf to Encryptor and back, within the limits of limits.ts. Encrypt uses the key
 * that Status names; Decrypt uses the key that its request names.
 */
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import type { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { ProviderError, toProviderError } from "../../errors.ts";
import type { Encryptor } from "../../encryptors/encryptor.ts";
import type { Call } from "./call.ts";
import { callKey, contextOf } from "./call.ts";
import { isOutOfReach, toConnectError } from "./errors.ts";
import { failureKind } from "../key/key-failure.ts";
import type { KeyStatus } from "../key/key-status.ts";
import { checkPlaintext, checkUnwrapRequest, checkWrapped } from "./limits.ts";

/** The version that Status reports, for the life of the plugin. */
const protocolVersion = "v2";

/** Makes the service. */
export function createKmsService(
  encryptor: Encryptor,
  status: KeyStatus,
): ServiceImpl<typeof KeyManagementService> {
  return {
    async status(_request, handlerContext) {
      const call = callOf(handlerContext);
      const { keyId, healthz } = await status.current(contextOf(call));
      call.keyId = keyId;
      return { version: protocolVersion, healthz, keyId };
    },

    async encrypt(request, handlerContext) {
      const call = callOf(handlerContext);
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
        if (failureKind(known) === "permanent" || isOutOfReach(known)) {
          status.probeSoon(`Encrypt failed with ${known.code}`);
        }
        throw error;
      }
    },

    async decrypt(request, handlerContext) {
      const call = callOf(handlerContext);
      checkUnwrapRequest(request);
      call.keyId = request.keyId;
      const { ciphertext, keyId, annotations } = request;
      try {
        return { plaintext: await encryptor.decrypt({ ciphertext, keyId, annotations }, contextOf(call)) };
      } catch (error) {
        throw decryptError(error);
      }
    },
  };
}

function callOf(context: HandlerContext): Call {
  const call = context.values.get(callKey);
  if (call === undefined) throw new ProviderError("INTERNAL", "a handler was called without its call");
  return call;
}

/** An unknown key is here the fault of the request, which names it, and not of the configuration. */
function decryptError(error: unknown): unknown {
  if (!(error instanceof ProviderError) || error.code !== "KEY_NOT_FOUND") return error;
  const { rawMessage } = toConnectError(error);
  return new ConnectError(rawMessage, Code.NotFound, undefined, undefined, error);
}

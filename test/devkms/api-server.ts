/**
 * Calls the plugin as kube-apiserver does: gRPC on its Unix socket, a deadline of 3 s, a fresh uid a call. By
 * @grpc/grpc-js, which this project did not write.
 */
import { randomUUID } from "node:crypto";
import {
  create,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import {
  type DecryptResponse,
  type EncryptResponse,
  KeyManagementService,
  type StatusResponse,
} from "../../gen/kms/v2/api_pb.ts";

/** The three calls of KMS v2. Each rejects with grpc-js's ServiceError. */
export interface ApiServer {
  status(): Promise<StatusResponse>;
  encrypt(plaintext: Uint8Array): Promise<EncryptResponse>;
  decrypt(stored: Pick<EncryptResponse, "ciphertext" | "keyId" | "annotations">): Promise<DecryptResponse>;
  close(): void;
}

/** Makes a client of the socket at `socketPath`; it connects with its first call. */
export function createApiServer(socketPath: string, timeoutMs = 3000): ApiServer {
  const client = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
    "grpc.default_authority": "localhost",
  });
  const call = <M extends DescMethodUnary>(
    method: M,
    request: MessageInitShape<M["input"]>,
  ): Promise<MessageShape<M["output"]>> => {
    const { promise, resolve, reject } = Promise.withResolvers<MessageShape<M["output"]>>();
    client.makeUnaryRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: MessageInitShape<M["input"]>) =>
        Buffer.from(toBinary(method.input, create(method.input, message))),
      (bytes) => fromBinary<M["output"]>(method.output, bytes),
      request,
      new Metadata({ waitForReady: true }),
      { deadline: Date.now() + timeoutMs },
      (error, reply) => (reply === undefined ? reject(error ?? new Error("no reply")) : resolve(reply)),
    );
    return promise;
  };
  const { method } = KeyManagementService;
  return {
    status: () => call(method.status, {}),
    encrypt: (plaintext) => call(method.encrypt, { plaintext, uid: randomUUID() }),
    decrypt: ({ ciphertext, keyId, annotations }) =>
      call(method.decrypt, { ciphertext, keyId, annotations, uid: randomUUID() }),
    close: () => client.close(),
  };
}

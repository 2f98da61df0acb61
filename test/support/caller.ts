/**
 * A lean gRPC client on node:http2, so that a measurement is of the plugin and not of a client library.
 * One connection, as kube-apiserver has one. Trusts the server to answer: it has no timer of its own.
 */
import { connect, constants } from "node:http2";
import { createConnection } from "node:net";
import { randomBytes, randomUUID } from "node:crypto";
import { create, fromBinary, toBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import {
  DecryptRequestSchema,
  DecryptResponseSchema,
  EncryptRequestSchema,
  EncryptResponseSchema,
  StatusRequestSchema,
  StatusResponseSchema,
  type EncryptResponse,
  type StatusResponse,
} from "../../gen/kms/v2/api_pb.ts";

/** A call that was not answered with the gRPC status OK. */
export class CallError extends Error {
  override readonly name = "CallError";
  /** The gRPC status; undefined where the connection was lost before there was one. */
  readonly code: number | undefined;

  constructor(message: string, code?: number) {
    super(message);
    this.code = code;
  }
}

/** Calls the plugin as kube-apiserver does. Each method throws CallError. */
export interface Caller {
  status(): Promise<StatusResponse>;
  encrypt(plaintext: Uint8Array): Promise<EncryptResponse>;
  decrypt(wrapped: EncryptResponse): Promise<Uint8Array>;
  /** Waits for what is under way. */
  close(): Promise<void>;
  /** Leaves at once: what is under way fails. */
  leave(): void;
}

/** Puts the five-byte gRPC prefix before a message: not compressed, length. */
function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(5 + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, 5);
  return framed;
}

function failure(method: string, status: unknown, message: unknown): CallError {
  if (typeof status !== "string") return new CallError(`${method}: the connection was lost`);
  return new CallError(
    `${method}: gRPC status ${status}: ${decodeURIComponent(String(message))}`,
    Number(status),
  );
}

/**
 * Connects to a plugin's socket. `timeoutMs` is sent as grpc-timeout with each call. A `contentType` in another case
 * than the usual one is answered by Connect's own handlers, not by the plugin's fast path.
 */
export async function connectCaller(
  socketPath: string,
  timeoutMs = 10_000,
  contentType = "application/grpc",
): Promise<Caller> {
  const session = connect("http://localhost", {
    createConnection: () => createConnection({ path: socketPath }),
  });
  await new Promise<void>((resolve, reject) => {
    session.once("connect", () => resolve());
    session.once("error", reject);
  });
  session.on("error", () => {});

  const call = (method: string, request: Uint8Array): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const stream = session.request({
        [constants.HTTP2_HEADER_METHOD]: "POST",
        [constants.HTTP2_HEADER_PATH]: `/v2.KeyManagementService/${method}`,
        [constants.HTTP2_HEADER_CONTENT_TYPE]: contentType,
        [constants.HTTP2_HEADER_TE]: "trailers",
        "grpc-timeout": `${timeoutMs}m`,
      });
      const chunks: Buffer[] = [];
      let status: unknown;
      let message: unknown;
      const read = (headers: Record<string, unknown>): void => {
        status = headers["grpc-status"] ?? status;
        message = headers["grpc-message"] ?? message;
      };
      stream.on("response", read);
      stream.on("trailers", read);
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("error", (error) => reject(new CallError(`${method}: ${error.message}`)));
      stream.on("close", () => {
        if (status === "0") resolve(Buffer.concat(chunks).subarray(5));
        else reject(failure(method, status, message));
      });
      stream.end(frame(request));
    });

  const unary = async <I extends DescMessage, O extends DescMessage>(
    method: string,
    input: I,
    output: O,
    message: MessageShape<I>,
  ): Promise<MessageShape<O>> => fromBinary(output, await call(method, toBinary(input, message)));

  return {
    status: () => unary("Status", StatusRequestSchema, StatusResponseSchema, create(StatusRequestSchema)),
    encrypt: (plaintext) =>
      unary(
        "Encrypt",
        EncryptRequestSchema,
        EncryptResponseSchema,
        create(EncryptRequestSchema, { plaintext, uid: randomUUID() }),
      ),
    decrypt: async ({ ciphertext, keyId, annotations }) => {
      const request = create(DecryptRequestSchema, { ciphertext, keyId, annotations, uid: randomUUID() });
      const reply = await unary("Decrypt", DecryptRequestSchema, DecryptResponseSchema, request);
      return reply.plaintext;
    },
    close: () =>
      new Promise((resolve) => {
        session.close(() => resolve());
      }),
    leave: () => session.destroy(),
  };
}

/** A seed as kube-apiserver makes one. */
export const seed = (): Uint8Array => randomBytes(32);

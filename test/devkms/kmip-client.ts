/**
 * A bare KMIP client for the tests of the embedded KMS: one TLS connection, whole messages, no opinion. Apart from
 * src/kmip's own, so that a fault there does not hide one here.
 */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect, type TLSSocket } from "node:tls";
import { call, createRequest, payloadOf, type RequestOptions } from "../../src/kmip/batch.ts";
import { decodeResponse, encodeRequest, type ResponseMessage } from "../../src/kmip/messages.ts";
import type { OperationDefinition } from "../../src/kmip/operations/index.ts";
import { createFramer } from "../../src/kmip/ttlv/framer.ts";
import { parseVersion, type VersionText } from "../../src/kmip/version.ts";
import type { CertificateFiles } from "./certificates.ts";

/** One connection. */
export interface BareClient {
  readonly socket: TLSSocket;
  /** Sends bytes as they are and gives the next whole message; undefined where the connection ends first. */
  exchange(bytes: Uint8Array): Promise<Uint8Array | undefined>;
  /** Sends a batch and gives the response, failures included. */
  batch(
    version: VersionText,
    calls: Parameters<typeof createRequest>[1],
    options?: RequestOptions,
  ): Promise<ResponseMessage>;
  /** Carries out one operation. @throws KMIP_RESULT where it is refused */
  run<RequestWrite, ResponseRead>(
    definition: OperationDefinition<unknown, RequestWrite, ResponseRead, never>,
    payload: RequestWrite,
    version?: VersionText,
  ): Promise<ResponseRead>;
}

/** Connects with the files of a client; rejects where the handshake is refused. */
export async function connectBare(address: string, files: CertificateFiles): Promise<BareClient> {
  const [cert, key, ca] = await Promise.all([files.cert, files.key, files.ca].map((file) => readFile(file)));
  const socket = connect({ host: "127.0.0.1", port: Number(address.split(":").at(-1)), cert, key, ca });
  await once(socket, "secureConnect");
  const framer = createFramer();
  const messages: Uint8Array[] = [];
  let wake = Promise.withResolvers<void>();
  const notify = (): void => {
    wake.resolve();
    wake = Promise.withResolvers();
  };
  socket.on("data", (chunk: Buffer) => {
    messages.push(...framer.push(chunk));
    notify();
  });
  socket.on("error", () => undefined);
  socket.on("close", notify);

  const exchange = async (bytes: Uint8Array): Promise<Uint8Array | undefined> => {
    socket.write(bytes);
    while (messages.length === 0 && !socket.closed) await wake.promise;
    return messages.shift();
  };
  const batch: BareClient["batch"] = async (version, calls, options) => {
    const reply = await exchange(encodeRequest(createRequest(parseVersion(version), calls, options)));
    if (reply === undefined) throw new Error("closed before the reply");
    return decodeResponse(reply);
  };
  return {
    socket,
    exchange,
    batch,
    async run(definition, payload, version = "1.4") {
      const request = createRequest(parseVersion(version), [call(definition, payload)]);
      const reply = await exchange(encodeRequest(request));
      if (reply === undefined) throw new Error("closed before the reply");
      return payloadOf(decodeResponse(reply), request, 0, definition);
    },
  };
}

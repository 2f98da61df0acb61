/** The scenarios' subject KMIP: a server that answers Discover Versions and Query, and a client that sends Query. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { call } from "../../../src/kmip/batch.ts";
import { createKmipClient } from "../../../src/kmip/client.ts";
import { decodeRequest } from "../../../src/kmip/messages.ts";
import { queryOperation } from "../../../src/kmip/operations/index.ts";
import { QueryFunction } from "../../../src/kmip/spec/enumerations.ts";
import { createFramer } from "../../../src/kmip/ttlv/framer.ts";
import { parseVersion } from "../../../src/kmip/version.ts";
import { parseKmipAddress } from "../../../src/net/address.ts";
import type { KmsEvent } from "../../../src/upstream/events.ts";
import { createFaults, type Refusal } from "../../devkms/faults.ts";
import { openKeyStore } from "../../devkms/key-store.ts";
import { answer, operationsOf } from "../../devkms/kmip-batch.ts";
import { authority, clientMaterial } from "../../kmip/echo-server.ts";
import { countSockets, each100ms, type Ending, type TestRequest, type TestServer } from "./server.ts";
import { serverCertificate, type Subject } from "./subject.ts";

const state = { keys: openKeyStore(), faults: createFaults(), maxVersion: parseVersion("1.4") };

function requestOf(message: Uint8Array, socket: TLSSocket, openedAt: number, ending: Ending): TestRequest {
  const request = decodeRequest(message);
  const bytes = (refusal?: Refusal): Uint8Array => answer(request, state, refusal);
  const write = (reply: Uint8Array | string): void => {
    if (!socket.destroyed) socket.write(reply);
  };
  const drip = (): void => {
    const reply = bytes();
    let at = 0;
    each100ms(socket, () => {
      write(reply.subarray(at, (at += 1)));
      return at < reply.length;
    });
  };
  return {
    isFirst: operationsOf(request).includes("DiscoverVersions"),
    isResumed: socket.isSessionReused(),
    ageMs: performance.now() - openedAt,
    answer: () => write(bytes()),
    answerAndEnd: () => void socket.end(bytes()),
    drip,
    hint: drip,
    refuseForState: () => write(bytes({ reason: "GeneralFailure" })),
    refuseConnection: () => write(bytes({ reason: "GeneralFailure" })),
    refuseRights: () => write(bytes({ reason: "PermissionDenied" })),
    garbage: () => write("HTTP/1.1 400 Bad Request\r\n\r\n"),
    ...ending,
  };
}

async function startServer(port = 0): Promise<TestServer> {
  let requests = 0;
  const server = createServer({
    ...(await serverCertificate()),
    ca: authority.caPem,
    requestCert: true,
    rejectUnauthorized: true,
  });
  const counted = countSockets(server);
  server.on("tlsClientError", () => undefined);
  server.on("secureConnection", (socket) => {
    const openedAt = performance.now();
    const ending = counted.endingOf(socket);
    const framer = createFramer();
    socket.setNoDelay(true);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      for (const message of framer.push(chunk)) {
        const request = requestOf(message, socket, openedAt, ending);
        if (!request.isFirst) requests += 1;
        self.onRequest(request);
      }
    });
    self.onConnection(ending);
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const bound = (server.address() as AddressInfo).port;
  const self: TestServer = {
    ...counted,
    address: `127.0.0.1:${bound}`,
    port: bound,
    onRequest: (request) => request.answer(),
    onConnection: () => undefined,
    requests: () => requests,
    [Symbol.asyncDispose]: counted.close,
  };
  return self;
}

/** KMIP 1.4. */
export const kmip: Subject = {
  name: "KMIP",
  overloads: [40, 500],
  startServer,
  addressOf: (hostPort) => hostPort,
  connect: async (addresses, options = {}) => {
    const events: KmsEvent[] = [];
    const client = createKmipClient({
      servers: addresses.map((address) => parseKmipAddress(address)),
      maxConnections: 4,
      ...options,
      onEvent: (event) => events.push(event),
    });
    client.setTlsMaterial(await clientMaterial());
    return {
      events,
      counts: client.counts,
      close: client.close,
      [Symbol.asyncDispose]: client.close,
      call: (context) =>
        client.send(
          () => ({
            calls: [call(queryOperation, { queryFunctions: [QueryFunction.QueryOperations] })],
            read: (reply) => void reply.payload(0, queryOperation),
          }),
          context,
        ),
    };
  },
};

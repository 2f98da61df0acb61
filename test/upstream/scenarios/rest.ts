/** The scenarios' subject REST: a server that answers every request with `{}`, over HTTP/2 or HTTP/1.1, and a client of it. */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { parseRestAddress } from "../../../src/net/address.ts";
import { RestError } from "../../../src/errors.ts";
import { createRestClient } from "../../../src/rest/client.ts";
import type { HttpReply } from "../../../src/rest/connection.ts";
import type { KmsEvent } from "../../../src/upstream/events.ts";
import { authority, clientMaterial } from "../../kmip/echo-server.ts";
import { countSockets, each100ms, type Ending, type TestRequest, type TestServer } from "./server.ts";
import { serverCertificate, type Subject } from "./subject.ts";

/** Of both kinds of response, what is used here. */
type Response = ServerResponse & Partial<Pick<Http2ServerResponse, "stream">>;

function requestOf(response: Response, socket: TLSSocket, openedAt: number, ending: Ending): TestRequest {
  const session = response.stream?.session;
  const send = (status: number, body: string): void => {
    response.statusCode = status;
    response.setHeader("content-type", "application/json");
    response.setHeader("content-length", body.length);
    response.end(body);
  };
  const answer = (): void => send(200, "{}");
  return {
    isFirst: false,
    isResumed: socket.isSessionReused(),
    ageMs: performance.now() - openedAt,
    answer,
    answerAndEnd: () => {
      if (session === undefined) response.setHeader("connection", "close");
      answer();
      session?.goaway();
    },
    drip: () => {
      response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
      each100ms(socket, () => !response.destroyed && (response.write(" "), true));
    },
    hint: () =>
      each100ms(socket, () => {
        if (response.destroyed) return false;
        response.writeEarlyHints({ link: "</a>; rel=preload" });
        return true;
      }),
    refuseForState: () => send(503, "{}"),
    refuseConnection: () => send(401, "{}"),
    refuseRights: () => send(403, "{}"),
    garbage: () => send(200, "<html>"),
    ...ending,
  };
}

async function startServer(isHttp2: boolean, port = 0): Promise<TestServer> {
  const opened = new Map<number, { readonly socket: TLSSocket; readonly openedAt: number }>();
  let requests = 0;
  const handle = (
    request: IncomingMessage | Http2ServerRequest,
    response: ServerResponse | Http2ServerResponse,
  ): void => {
    const of = opened.get(request.socket.remotePort ?? 0);
    if (of === undefined) return;
    requests += 1;
    response.on("error", () => undefined);
    request.resume();
    self.onRequest(requestOf(response as Response, of.socket, of.openedAt, counted.endingOf(of.socket)));
  };
  const tls = { ...(await serverCertificate()), ca: authority.caPem, requestCert: true } as const;
  const server = isHttp2
    ? createSecureServer({ ...tls, allowHTTP1: true }, handle)
    : createServer(tls, handle);
  const counted = countSockets(server);
  server.on("tlsClientError", () => undefined);
  server.on("sessionError", () => undefined);
  server.on("session", (session) => session.on("error", () => undefined));
  server.on("secureConnection", (socket: TLSSocket) => {
    const from = socket.remotePort ?? 0;
    opened.set(from, { socket, openedAt: performance.now() });
    socket.on("error", () => undefined);
    self.onConnection(counted.endingOf(socket));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const bound = (server.address() as AddressInfo).port;
  const self: TestServer = {
    ...counted,
    address: `https://127.0.0.1:${bound}`,
    port: bound,
    onRequest: (request) => request.answer(),
    onConnection: () => undefined,
    requests: () => requests,
    [Symbol.asyncDispose]: counted.close,
  };
  return self;
}

function read({ status, body }: HttpReply): void {
  if (Buffer.from(body).toString() !== "{}")
    throw new RestError("REST_BODY", "not what was promised", { status });
}

function rest(name: string, isHttp2: boolean): Subject {
  return {
    name,
    overloads: isHttp2 ? [28, 100] : [100],
    startServer: (port) => startServer(isHttp2, port),
    addressOf: (hostPort) => `https://${hostPort}`,
    connect: async (addresses, options = {}) => {
      const events: KmsEvent[] = [];
      const client = createRestClient({
        servers: addresses.map((address) => parseRestAddress(address)),
        reachabilityPath: "/api/reachable",
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
          client.call({ name: "some", method: "GET", path: "/api/some", maxReplyBytes: 2000, read }, context),
      };
    },
  };
}

/** REST over HTTP/2. */
export const http2 = rest("REST over HTTP/2", true);

/** REST over HTTP/1.1. */
export const http1 = rest("REST over HTTP/1.1", false);

/**
 * The REST face of the embedded KMS: the Service Key API over real mutual TLS, HTTP/2 where the client wants it or
 * HTTP/1.1 only, with every fault of faults.ts. What the calls mean is rest-api.ts.
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { constants, createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import { createServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { type Fault, type Faults, type Peer, peerFault, takeFault } from "./faults.ts";
import { createFront } from "./front.ts";
import type { KeyStore } from "./key-store.ts";
import { answer, type ApiCall, type ApiReply, callOf, errorReply } from "./rest-api.ts";

/** How the face is started. */
export interface RestFaceOptions {
  readonly keys: KeyStore;
  readonly faults: Faults;
  /** PEM: the server's certificate and key, and the CA that clients must chain to. */
  readonly tls: { readonly cert: string; readonly key: string; readonly ca: string };
  /** Default: any free one. */
  readonly port?: number;
  /** Offer HTTP/2. Default: true. */
  readonly http2?: boolean;
  /** Most keys on one page of a list. Default: 100. */
  readonly pageSize?: number;
  readonly okmsId: string;
}

/** A running face. */
export interface RestFace {
  readonly port: number;
  /** How often each call was made: `encrypt`, `decrypt`, `getKey`, `listKeys`, `unknown`. */
  readonly calls: ReadonlyMap<string, number>;
  /** Open connections. */
  connections(): number;
  /** Ends every connection at once; how many there were. */
  cutConnections(): number;
  /** Stops listening, cuts all connections, resolves when they are closed. */
  close(): Promise<void>;
}

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

const maxRequestBytes = 64 * 1024;

/** KMIP's Result Reasons, as a REST API would say them. */
const statusOfReason: Readonly<Record<string, number>> = {
  ItemNotFound: 404,
  AuthenticationNotSuccessful: 401,
  PermissionDenied: 403,
  WrongKeyLifecycleState: 403,
  IncompatibleCryptographicUsageMask: 403,
  CryptographicFailure: 400,
  InvalidField: 400,
};

/** The names by which a refusal of faults.ts may mean a call of this API. */
const kmipNames: Readonly<Record<ApiCall["name"], string>> = {
  encrypt: "Encrypt",
  decrypt: "Decrypt",
  getKey: "GetAttributes",
  listKeys: "Locate",
  unknown: "",
};

/** Starts the face on 127.0.0.1. */
export async function startRestFace(options: RestFaceOptions): Promise<RestFace> {
  const sockets = new Set<Socket>();
  const calls = new Map<string, number>();
  /** When the newest connection from a port of the client was opened. */
  const openedAt = new Map<number | undefined, number>();
  const peerOf = ({ socket }: Request): Peer => ({
    openedAt: openedAt.get(socket.remotePort) ?? performance.now(),
    isResumed: (socket as TLSSocket).isSessionReused(),
  });
  const handle = (request: Request, response: Response): void => {
    serve(request, response, options, calls, peerOf(request)).catch(() => endConnection(response));
  };
  const tls = { ...options.tls, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.2" } as const;
  const server =
    options.http2 === false
      ? createServer(tls, handle)
      : createSecureServer({ ...tls, allowHTTP1: true, settings: { maxConcurrentStreams: 1_000 } }, handle);
  const listener = createFront(server, options.faults, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("secureConnection", (socket: TLSSocket) => openedAt.set(socket.remotePort, performance.now()));
  // A client that does not get through the handshake is an error of its own, and no end of the server.
  server.on("tlsClientError", () => undefined);
  server.on("sessionError", () => undefined);
  listener.listen(options.port ?? 0, "127.0.0.1");
  await once(listener, "listening");

  const cutConnections = (): number => {
    const count = sockets.size;
    for (const socket of sockets) socket.destroy();
    return count;
  };
  return {
    port: (listener.address() as AddressInfo).port,
    calls,
    connections: () => sockets.size,
    cutConnections,
    async close() {
      const closed = once(listener, "close");
      listener.close();
      cutConnections();
      await closed;
    },
  };
}

async function serve(
  request: Request,
  response: Response,
  options: RestFaceOptions,
  calls: Map<string, number>,
  peer: Peer,
): Promise<void> {
  const { faults, okmsId } = options;
  if (faults.http1Required && "stream" in response)
    return response.stream.close(constants.NGHTTP2_HTTP_1_1_REQUIRED);
  const call = callOf(request.method ?? "", request.url ?? "", okmsId);
  calls.set(call.name, (calls.get(call.name) ?? 0) + 1);
  const body = await readBody(request);
  if (faults.delayMs > 0) await delay(faults.delayMs);
  const bad = peerFault(peer, faults);
  if (bad !== undefined)
    return send(
      response,
      bad === "denied" ? errorReply(403, "access denied") : errorReply(401, "session ended"),
    );
  const fault = takeFault(faults, "rest", [kmipNames[call.name]]);
  if (fault === undefined || fault === "refuse" || isStatusFault(fault, faults)) {
    const reply =
      fault === undefined
        ? answer(call, body, { ...options, pageSize: options.pageSize ?? 100 })
        : refusal(fault, faults);
    send(response, reply);
  } else misbehave(response, fault, faults);
}

async function readBody(request: Request): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxRequestBytes) throw new Error("the request is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function isStatusFault(fault: Fault, faults: Faults): boolean {
  return fault === "rest" && faults.rest.status !== undefined;
}

function refusal(fault: Fault, faults: Faults): ApiReply {
  if (fault === "refuse")
    return errorReply(
      statusOfReason[faults.refuse?.reason ?? ""] ?? 500,
      faults.refuse?.message ?? "refused",
    );
  const { status = 500, page, retryAfterSeconds } = faults.rest;
  const headers = retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) };
  return page === undefined
    ? { ...errorReply(status, "refused by a fault"), headers }
    : { status, body: page, headers: { ...headers, "content-type": "text/html" } };
}

function send(response: Response, { status, body, headers }: ApiReply): void {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.statusCode = status;
  setHeaders(response, {
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(text)),
    "x-request-id": randomUUID(),
    ...headers,
  });
  response.end(text);
}

function setHeaders(response: Response, headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
}

/** Everything that is no proper reply. */
function misbehave(response: Response, fault: Fault, faults: Faults): void {
  if (fault === "silent") return;
  if (fault === "closeAfterRequest") {
    endConnection(response);
    return;
  }
  response.statusCode = 200;
  response.setHeader("content-type", "application/json");
  if (fault === "halfFrame") {
    response.setHeader("content-length", "400");
    (response as ServerResponse).write('{"ciphertext":"eyJhbGciOiJkaXIi');
  } else if (fault === "garbage") response.end(Buffer.from("\u0000\u0001<html>\u00ff not what was promised"));
  else if (faults.rest.brokenBody === true) response.end('{"ciphertext":"eyJhbGciOiJkaXIi');
  else response.end(Buffer.alloc(2 * 1024 * 1024, 0x20));
}

function endConnection(response: Response): void {
  const session = "stream" in response ? response.stream.session : undefined;
  if (session) session.destroy();
  else (response as ServerResponse).socket?.destroy();
}

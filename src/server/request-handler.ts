/**
 * Node's HTTP/2 requests to Connect's handlers and back. In place of connect-node's own adapter, which throws
 * on the authority that kube-apiserver 1.29 to 1.31 sends (`%2Fpath`, no valid URL) and so would end the
 * process, prints failures with console.error, and leaves a request without a body waiting past its deadline.
 */
import type { Http2ServerRequest, Http2ServerResponse, IncomingHttpHeaders } from "node:http2";
import { constants } from "node:http2";
import { Code, createContextValues } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { ProviderError } from "../errors.ts";
import type { Call, CodeName } from "./call.ts";
import { beginCall, callKey, codeName } from "./call.ts";
import { callerTimeoutMs } from "./deadline.ts";
import { toConnectError } from "./errors.ts";

/** How a request handler is made. */
export interface RequestHandlerOptions {
  readonly handlers: readonly UniversalHandler[];
  /** Longest time of a unary call, in ms. A stream lives as long as its caller wants. */
  readonly timeoutMs: number;
  /** Most calls open at once, of all kinds, from their headers until their last byte is written. */
  readonly maxOpen: number;
  /** Called once for each call, when it has been answered or its caller has left. Must not throw. */
  readonly onEnd: (call: Call, code: CodeName) => void;
}

/** What node:http2 calls with each request. Never throws, never rejects. */
export type RequestHandler = (request: Http2ServerRequest, response: Http2ServerResponse) => void;

/** Makes the handler of all requests of a server. */
export function createRequestHandler(options: RequestHandlerOptions): RequestHandler {
  const byPath = new Map(options.handlers.map((handler) => [handler.requestPath, handler]));
  let open = 0;

  return (request, response) => {
    const handler = byPath.get(request.url.split("?", 1)[0] ?? "");
    if (handler === undefined) {
      refuse(request, unknownMethod);
      return;
    }
    if (open >= options.maxOpen) {
      refuseOverload(handler, request);
      return;
    }
    const limitMs = handler.method.methodKind === "unary" ? options.timeoutMs : undefined;
    const call = beginCall(handler.method, limitMs, callerTimeoutMs(request.headers));
    void serve(call, handler, request, response);
  };

  async function serve(
    call: Call,
    handler: UniversalHandler,
    request: Http2ServerRequest,
    response: Http2ServerResponse,
  ): Promise<void> {
    open += 1;
    request.stream.once("close", () => (open -= 1));
    const code = await answer(call, handler, request, response);
    // A client that does not read its answer gives its place up all the same.
    request.stream.setTimeout(options.timeoutMs, () => request.stream.destroy());
    call.budget.end();
    options.onEnd(call, code);
  }

  /** By the headers alone: what it takes to understand a call, times thousands, is more memory than there may be. */
  function refuseOverload(handler: UniversalHandler, request: Http2ServerRequest): void {
    const call = beginCall(handler.method);
    call.error = new ProviderError("OVERLOADED", `more than ${options.maxOpen} calls open at once`);
    const { code, rawMessage } = toConnectError(call.error);
    refuse(request, { code, text: rawMessage, httpStatus: 429 });
    options.onEnd(call, codeName(code));
  }
}

/** gRPC clients read 404 as Unimplemented; those that see grpc-status get it in so many words. */
const unknownMethod = {
  code: Code.Unimplemented,
  text: "unknown service or method",
  httpStatus: 404,
} as const satisfies Refusal;

/** An answer without a handler. */
interface Refusal {
  readonly code: Code;
  readonly text: string;
  /** For a client that does not speak gRPC. */
  readonly httpStatus: number;
}

/** How long the rest of a refused request may keep still, in ms. */
const maxTailMs = 1000;

/** Answers by headers alone (gRPC's "Trailers-Only"), and lets the request's bytes go by. */
function refuse({ stream, headers }: Http2ServerRequest, { code, text, httpStatus }: Refusal): void {
  const isGrpc = headers["content-type"]?.startsWith("application/grpc") === true;
  const reply = isGrpc
    ? {
        ":status": 200,
        "content-type": "application/grpc",
        "grpc-status": String(code),
        "grpc-message": text,
      }
    : { ":status": httpStatus };
  if (stream.destroyed) return;
  stream.respond(reply, { endStream: true });
  stream.setTimeout(maxTailMs, () => stream.destroy());
  stream.resume();
}

async function answer(
  call: Call,
  handler: UniversalHandler,
  request: Http2ServerRequest,
  response: Http2ServerResponse,
): Promise<CodeName> {
  const { signal } = call.budget;
  request.stream.once("close", () => {
    call.budget.cancel();
  });
  try {
    const reply = await handler({
      httpVersion: request.httpVersion,
      method: request.method,
      url: `http://localhost${request.url}`,
      header: webHeaders(request.headers),
      body: bodyOf(request, signal),
      signal,
      contextValues: createContextValues().set(callKey, call),
    });
    await writeReply(reply, request, response);
    return call.code ?? codeOfReply(reply);
  } catch (error) {
    call.error = error;
    request.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    return codeName(signal.aborted ? toConnectError(signal.reason).code : Code.Internal);
  }
}

/**
 * A timeout that is well-formed is left out: the call's budget holds it. Another one stays, for Connect to
 * refuse it in the protocol's own words.
 */
function webHeaders(headers: IncomingHttpHeaders): Headers {
  const web = new Headers();
  const skipTimeout = callerTimeoutMs(headers) !== undefined;
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || name.startsWith(":")) continue;
    if (skipTimeout && (name === "grpc-timeout" || name === "connect-timeout-ms")) continue;
    web.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  return web;
}

/** The request's bytes; throws once the budget is over, so that a body which never comes holds nothing. */
async function* bodyOf(request: Http2ServerRequest, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const chunks: AsyncIterator<Uint8Array> = request[Symbol.asyncIterator]();
  const aborted = Promise.withResolvers<never>();
  // It is raced below, but only while a chunk is waited for.
  aborted.promise.catch(() => undefined);
  const onAbort = (): void => {
    aborted.reject(toConnectError(signal.reason));
  };
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      const next = await Promise.race([chunks.next(), aborted.promise]);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function writeReply(
  reply: UniversalServerResponse,
  request: Http2ServerRequest,
  response: Http2ServerResponse,
): Promise<void> {
  for await (const chunk of reply.body ?? []) {
    if (response.stream.destroyed) break;
    if (!response.headersSent) response.writeHead(reply.status, Object.fromEntries(reply.header ?? []));
    if (!response.write(chunk)) await drained(response);
  }
  if (response.stream.destroyed) return;
  if (!response.headersSent) response.writeHead(reply.status, Object.fromEntries(reply.header ?? []));
  if (reply.trailer !== undefined) response.addTrailers(Object.fromEntries(reply.trailer));
  endResponse(request, response, reply.trailer !== undefined);
}

/** Ends the response; a request that is still being sent is of no use to anyone then, and is stopped. */
function endResponse(request: Http2ServerRequest, response: Http2ServerResponse, hasTrailers: boolean): void {
  const { stream } = request;
  if (!request.complete) {
    // Trailers are written after "finish": the stream must not be closed before.
    stream.once(hasTrailers ? "wantTrailers" : "finish", () => {
      setImmediate(() => {
        stream.close(constants.NGHTTP2_NO_ERROR);
      });
    });
  }
  response.end();
}

function drained(response: Http2ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.once("drain", done).once("close", done);
  });
}

/** HTTP statuses by which Connect refuses a request before a handler sees it. */
const codesOfStatus: Readonly<Record<number, CodeName>> = {
  200: "OK",
  400: "InvalidArgument",
  404: "Unimplemented",
  405: "Unimplemented",
  415: "Unimplemented",
  429: "ResourceExhausted",
  499: "Canceled",
  501: "Unimplemented",
  504: "DeadlineExceeded",
};

/** How Connect answered a call that no handler saw. */
function codeOfReply(reply: UniversalServerResponse): CodeName {
  const status = Number(reply.trailer?.get("grpc-status") ?? 0);
  if (status !== 0) return codeName(status);
  return codesOfStatus[reply.status] ?? "Unknown";
}

/**
 * Node's HTTP/2 streams to Connect's handlers and back. In place of connect-node's own adapter, which throws
 * on the authority that kube-apiserver 1.29 to 1.31 sends (`%2Fpath`, no valid URL) and so would end the
 * process, prints failures with console.error, and leaves a request without a body waiting past its deadline.
 * What kube-apiserver sends takes the short way of grpc-unary.ts.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { constants } from "node:http2";
import { Code, ConnectError, createContextValues } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { ProviderError, toProviderError } from "../../errors.ts";
import type { Call, CodeName } from "./call.ts";
import { beginCall, callKey, codeName } from "./call.ts";
import { answerTimeMs, callerTimeoutMs } from "./deadline.ts";
import { toConnectError } from "./errors.ts";
import { envelopeBytes, type UnaryMethod, type UnaryReply, unaryContentType } from "./grpc-unary.ts";
import { maxMessageBytes } from "./limits.ts";
import type { OpenCall, OpenCalls } from "./open-calls.ts";

/** How a request handler is made. */
export interface RequestHandlerOptions {
  readonly handlers: readonly UniversalHandler[];
  /** The short way, by path, of those that have one. */
  readonly unary: ReadonlyMap<string, UnaryMethod>;
  /** Longest time of a unary call, in ms. A stream lives as long as its caller wants. */
  readonly timeoutMs: number;
  readonly openCalls: OpenCalls;
  /** Called once for each call, when it has been answered or its caller has left. Must not throw. */
  readonly onEnd: (call: Call, code: CodeName) => void;
}

/** What node:http2 calls with each stream. Never throws, never rejects. */
export type RequestHandler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** One request, and who answers it. */
interface Request {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly handler: UniversalHandler;
  readonly unary: UnaryMethod | undefined;
  readonly open: OpenCall;
}

/** Makes the handler of all requests of a server. */
export function createRequestHandler(options: RequestHandlerOptions): RequestHandler {
  const byPath = new Map(options.handlers.map((handler) => [handler.requestPath, handler]));

  return (stream, headers) => {
    // Without a listener the event would end the process; what there is to do is done on "close".
    stream.on("error", () => undefined);
    const path = headers[":path"]?.split("?", 1)[0] ?? "";
    const handler = byPath.get(path);
    if (handler === undefined) {
      refuse(stream, headers, unknownMethod);
      return;
    }
    const open = options.openCalls.begin(handler.method, stream.session);
    if (open === undefined) {
      refuseOverload(handler, stream, headers);
      return;
    }
    const limitMs = handler.method.methodKind === "unary" ? options.timeoutMs : undefined;
    const call = beginCall(handler.method, limitMs, answerTimeMs(callerTimeoutMs(headers)));
    void serve(call, { stream, headers, handler, unary: options.unary.get(path), open });
  };

  async function serve(call: Call, request: Request): Promise<void> {
    const { stream, open } = request;
    stream.once("close", () => {
      open.end();
      call.budget.cancel();
    });
    const code = await answer(call, request);
    if (!stream.closed) open.waitsForClient(true);
    // A client that does not read its answer gives its place up all the same.
    if (!stream.destroyed) stream.setTimeout(options.timeoutMs, () => stream.destroy());
    call.budget.end();
    options.onEnd(call, code);
  }

  /** By the headers alone: what it takes to understand a call, times thousands, is more memory than there may be. */
  function refuseOverload(
    handler: UniversalHandler,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
  ): void {
    const call = beginCall(handler.method);
    call.error = new ProviderError("OVERLOADED", options.openCalls.describe());
    const { code, rawMessage } = toConnectError(call.error);
    refuse(stream, headers, { code, text: rawMessage, httpStatus: 429 });
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
function refuse(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  { code, text, httpStatus }: Refusal,
): void {
  const isGrpc = headers["content-type"]?.startsWith("application/grpc") === true;
  const reply = isGrpc
    ? {
        ":status": 200,
        "content-type": "application/grpc",
        "grpc-status": String(code),
        "grpc-message": text,
      }
    : { ":status": httpStatus };
  if (isGone(stream)) return;
  stream.respond(reply, { endStream: true });
  stream.setTimeout(maxTailMs, () => stream.destroy());
  stream.resume();
}

async function answer(call: Call, request: Request): Promise<CodeName> {
  const { stream, headers, handler } = request;
  const { signal } = call.budget;
  const header = webHeaders(headers);
  const taken: Uint8Array[] = [];
  try {
    const short = await answerShortly(call, request, header, taken);
    if (short !== undefined) {
      writeShort(short, stream);
      return call.code ?? codeOfTrailer(short.trailer);
    }
    const reply = await handler({
      httpVersion: "2.0",
      method: headers[":method"] ?? "",
      url: `http://localhost${headers[":path"] ?? "/"}`,
      header,
      body: bodyOf(stream, signal, taken),
      signal,
      contextValues: createContextValues().set(callKey, call),
    });
    const isUnread = call.code === undefined && headers["content-type"]?.includes("json") === true;
    await writeReply(isUnread ? unquoted(reply) : reply, stream);
    if (call.code !== undefined) return call.code;
    const code = codeOfReply(reply);
    // No handler has seen it, and nothing else says in the log whose fault it was.
    if (code !== "OK" && code !== "Canceled") call.error ??= unseen;
    return code;
  } catch (error) {
    call.error = error;
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    return codeName(signal.aborted ? toConnectError(signal.reason).code : Code.Internal);
  }
}

const unseen = "the request was refused before it was a call: malformed, too long, or cut short";
const unreadable = "the request is not readable as JSON of its type";

/** Why JSON could not be read, Connect says in words that quote it; there may be a plaintext in it. */
function unquoted(reply: UniversalServerResponse): UniversalServerResponse {
  if (codeOfReply(reply) !== "InvalidArgument") return reply;
  if (reply.trailer !== undefined) {
    setTrailerStatus(reply.trailer, new ConnectError(unreadable, Code.InvalidArgument));
    return reply;
  }
  const body = Buffer.from(JSON.stringify({ code: "invalid_argument", message: unreadable }));
  const header = new Headers({ "content-type": "application/json", "content-length": String(body.length) });
  return { ...reply, header, body: createAsyncIterable([body]) };
}

/** Undefined where the request has no short way, or its body is not for it; what was read of it is in `taken`. */
async function answerShortly(
  call: Call,
  { stream, headers, unary, open }: Request,
  header: Headers,
  taken: Uint8Array[],
): Promise<UnaryReply | undefined> {
  if (unary?.accepts(headers) !== true) return undefined;
  if (!(await takeBody(stream, call.budget.signal, taken))) return undefined;
  open.waitsForClient(false);
  const [only] = taken;
  return await unary.answer(
    taken.length === 1 && only !== undefined ? only : Buffer.concat(taken),
    header,
    call,
  );
}

/**
 * Takes the body as it comes, into `taken`. False where it has not come to its end, because it is longer than a
 * message may be, the budget is over, or the caller has left: the rest is for {@link bodyOf}.
 */
function takeBody(stream: ServerHttp2Stream, signal: AbortSignal, taken: Uint8Array[]): Promise<boolean> {
  return new Promise((resolve) => {
    let length = 0;
    const onData = (chunk: Uint8Array): void => {
      taken.push(chunk);
      length += chunk.byteLength;
      if (length > envelopeBytes + maxMessageBytes) stop();
    };
    const onEnd = (): void => settle(true);
    const stop = (): void => {
      stream.pause();
      settle(false);
    };
    const settle = (isWhole: boolean): void => {
      stream.off("data", onData).off("end", onEnd).off("close", stop);
      signal.removeEventListener("abort", stop);
      resolve(isWhole);
    };
    stream.on("data", onData).once("end", onEnd).once("close", stop);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted || stream.destroyed) stop();
  });
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

/**
 * The request's bytes, those already taken first; throws once the budget is over, so that a body which never comes
 * holds nothing.
 */
async function* bodyOf(
  stream: ServerHttp2Stream,
  signal: AbortSignal,
  taken: readonly Uint8Array[],
): AsyncGenerator<Uint8Array> {
  yield* taken;
  if (stream.readableEnded) return;
  const chunks: AsyncIterator<Uint8Array> = stream.iterator({ destroyOnReturn: false });
  const aborted = Promise.withResolvers<never>();
  // It is raced below, but only while a chunk is waited for.
  aborted.promise.catch(() => undefined);
  const onAbort = (): void => {
    aborted.reject(
      toProviderError(signal.reason).code === "TIMEOUT"
        ? new ConnectError("the request did not come to its end in time", Code.DeadlineExceeded)
        : toConnectError(signal.reason),
    );
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
    // Gives the stream back, so that what is left of the request can go by.
    chunks.return?.().catch(() => undefined);
  }
}

/** Whether nothing can be written any more: its "close" may still be to come. */
function isGone(stream: ServerHttp2Stream): boolean {
  return stream.destroyed || stream.closed;
}

function writeShort({ body, trailer }: UnaryReply, stream: ServerHttp2Stream): void {
  if (isGone(stream)) return;
  stream.once("wantTrailers", () => sendTrailers(stream, trailer));
  stream.respond({ ":status": 200, "content-type": unaryContentType }, { waitForTrailers: true });
  stream.end(body);
}

async function writeReply(reply: UniversalServerResponse, stream: ServerHttp2Stream): Promise<void> {
  const { trailer, body } = reply;
  const head = (): void => {
    if (stream.headersSent) return;
    const headers: OutgoingHttpHeaders = Object.fromEntries(reply.header ?? []);
    stream.respond({ ...headers, ":status": reply.status }, { waitForTrailers: trailer !== undefined });
  };
  if (trailer !== undefined) stream.once("wantTrailers", () => sendTrailers(stream, trailer));
  for await (const chunk of body ?? []) {
    if (isGone(stream)) return;
    head();
    if (!stream.write(chunk)) await drained(stream);
  }
  if (isGone(stream)) return;
  head();
  // A request that is still being sent is of no use to anyone then, and is stopped.
  if (trailer === undefined) stream.once("finish", () => closeUnread(stream));
  stream.end();
}

function sendTrailers(stream: ServerHttp2Stream, trailer: Headers): void {
  if (isGone(stream)) return;
  stream.sendTrailers(Object.fromEntries(trailer));
  closeUnread(stream);
}

/** Stops a request that is still being sent; what is to be written is out by then. */
function closeUnread(stream: ServerHttp2Stream): void {
  if (stream.readableEnded) return;
  setImmediate(() => {
    if (stream.readableEnded) return;
    // What has come and nobody has read would keep the stream open.
    stream.resume();
    stream.close(constants.NGHTTP2_NO_ERROR);
  });
}

function drained(stream: ServerHttp2Stream): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off("drain", done).off("close", done);
      resolve();
    };
    stream.once("drain", done).once("close", done);
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
  const code = reply.trailer === undefined ? "OK" : codeOfTrailer(reply.trailer);
  return code === "OK" ? (codesOfStatus[reply.status] ?? "Unknown") : code;
}

function codeOfTrailer(trailer: Headers): CodeName {
  const status = Number(trailer.get("grpc-status") ?? 0);
  return status === 0 ? "OK" : codeName(status);
}

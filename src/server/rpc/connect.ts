/**
 * What the fast path leaves over, by connect-node's own adapter: gRPC of any form, the Connect protocol with JSON,
 * Health, reflection. Around the adapter: the authority is set, for it throws on the one that kube-apiserver 1.29 to
 * 1.31 sends (`%2Fpath`); the body ends with the call's budget; and no error quotes a request.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import {
  Code,
  ConnectError,
  type ConnectRouter,
  createContextKey,
  createContextValues,
} from "@connectrpc/connect";
import type { HandlerContext, Interceptor, ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { ProviderError, toProviderError } from "../../errors.ts";
import { type Call, type CodeName, codeName, runCall } from "./call.ts";
import { callerTimeoutMs } from "./deadline.ts";
import { CallError, toCallError } from "./errors.ts";
import { unseenRequest } from "./fast-path.ts";
import { encodeGrpcMessage } from "./grpc.ts";
import type { KmsService } from "./kms-service.ts";
import { maxMessageBytes } from "./limits.ts";

/** A request for the adapter. */
export interface ConnectRequest {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly call: Call;
  /** What has been read of its body. */
  readonly chunks: readonly Uint8Array[];
  /** Called once, when it is answered. */
  readonly onAnswered: (code: CodeName) => void;
}

/** Makes what answers requests by Connect's handlers. `routes` adds other services to the KMS service. */
export function createConnectHandler(
  service: KmsService,
  routes: (router: ConnectRouter) => void,
): (request: ConnectRequest) => void {
  const adapter = connectNodeAdapter({
    grpcWeb: false,
    readMaxBytes: maxMessageBytes,
    writeMaxBytes: maxMessageBytes,
    // What the Connect protocol compresses, and what is compressed without being announced.
    acceptCompression: [],
    interceptors: [interceptor],
    contextValues: (request) => createContextValues().set(callKey, (request as CallRequest).call),
    routes(router) {
      router.service(KeyManagementService, serviceImpl(service));
      routes(router);
    },
  });
  return (request) => adapter(new CallRequest(request), new CallResponse(request));
}

/** Where Connect's context holds the call. */
const callKey = createContextKey<Call | undefined>(undefined, { description: "call" });

const interceptor: Interceptor = (next) => async (request) => {
  const call = request.contextValues.get(callKey);
  if (call === undefined) return await next(request);
  try {
    return await runCall(call, request.stream ? {} : request.message, () => next(request).catch(throwAnswer));
  } catch (error) {
    // A refusal that is meant: its stack is of no use in the log.
    if (call.error instanceof ConnectError) call.error = call.error.rawMessage;
    throw toConnectError(error);
  }
};

/** A ConnectError is the answer itself: Connect's own to a malformed request, or one that a handler has chosen. */
function throwAnswer(error: unknown): never {
  throw error instanceof ConnectError ? new CallError(error.code, error.rawMessage, error) : error;
}

function toConnectError(error: unknown): ConnectError {
  const { code, message, cause } = toCallError(error);
  return cause instanceof ConnectError ? cause : new ConnectError(message, code, undefined, undefined, cause);
}

function serviceImpl(service: KmsService): ServiceImpl<typeof KeyManagementService> {
  return {
    status: (request, context) => service.status(request, callOf(context)),
    encrypt: (request, context) => service.encrypt(request, callOf(context)),
    decrypt: (request, context) => service.decrypt(request, callOf(context)),
  };
}

function callOf(context: HandlerContext): Call {
  const call = context.values.get(callKey);
  if (call === undefined) throw new ProviderError("INTERNAL", "a handler was called without its call");
  return call;
}

class CallRequest extends Http2ServerRequest {
  readonly call: Call;
  readonly #body: AsyncGenerator<Uint8Array, undefined>;

  constructor({ stream, headers, rawHeaders, call, chunks }: ConnectRequest) {
    super(stream, headersForConnect(headers), {}, rawHeaders);
    this.call = call;
    this.#body = bodyOf(stream, call.budget.signal, chunks);
  }

  /** What the adapter reads the body by. */
  override iterator(): AsyncGenerator<Uint8Array, undefined> {
    return this.#body;
  }
}

/**
 * A timeout that is well-formed is left out: the call's budget holds it. Another one stays, for Connect to refuse it
 * in the protocol's own words.
 */
function headersForConnect(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const own: IncomingHttpHeaders = { ...headers, ":authority": "localhost" };
  if (callerTimeoutMs(headers) === undefined) return own;
  delete own["grpc-timeout"];
  delete own["connect-timeout-ms"];
  return own;
}

/**
 * The request's bytes, those that were read first; throws once the budget is over, so that a body which never comes
 * holds nothing.
 */
async function* bodyOf(
  stream: ServerHttp2Stream,
  signal: AbortSignal,
  chunks: readonly Uint8Array[],
): AsyncGenerator<Uint8Array, undefined> {
  yield* chunks;
  if (stream.readableEnded) return;
  const rest: AsyncIterator<Uint8Array> = stream.iterator({ destroyOnReturn: false });
  const aborted = Promise.withResolvers<never>();
  // It is raced below, but only while a chunk is waited for.
  aborted.promise.catch(() => undefined);
  const onAbort = (): void => {
    aborted.reject(
      toProviderError(signal.reason).kind === "timeout"
        ? new ConnectError("the request was not complete in time", Code.DeadlineExceeded)
        : toConnectError(signal.reason),
    );
  };
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      const next = await Promise.race([rest.next(), aborted.promise]);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    // Gives the stream back, so that the rest of the request can pass.
    rest.return?.().catch(() => undefined);
  }
}

/** Connect's own message quotes JSON that it cannot read, and that may hold a plaintext. */
const unreadableJson = "the request is not readable as JSON of its type";

/** Notes how the adapter answers, and keeps the request's own words out of the answer. */
class CallResponse extends Http2ServerResponse {
  readonly #request: ConnectRequest;
  #code: CodeName = "OK";
  #replacement: string | undefined;

  constructor(request: ConnectRequest) {
    super(request.stream);
    this.#request = request;
  }

  override writeHead(status: number, headers?: unknown): this {
    this.#code = codesOfStatus[status] ?? "Unknown";
    if (!this.#mayQuote() || status !== 400)
      return super.writeHead(status, headers as OutgoingHttpHeaders | undefined);
    this.#replacement = JSON.stringify({ code: "invalid_argument", message: unreadableJson });
    return super.writeHead(status, { "content-type": "application/json" });
  }

  override write(chunk: string | Uint8Array, ...rest: unknown[]): boolean {
    const text = this.#replacement ?? chunk;
    this.#replacement &&= "";
    return super.write(text, ...(rest as [BufferEncoding, (error: Error) => void]));
  }

  override addTrailers(trailers: OutgoingHttpHeaders): void {
    const status = Number(trailers["grpc-status"] ?? 0);
    this.#code = codeName(status);
    const isQuote = this.#mayQuote() && status === Code.InvalidArgument;
    const said = decodeURIComponent(String(trailers["grpc-message"] ?? ""));
    const message = encodeGrpcMessage(isQuote ? unreadableJson : said);
    super.addTrailers(status === 0 ? trailers : { ...trailers, "grpc-message": message });
  }

  override end(...rest: unknown[]): this {
    const { call, onAnswered } = this.#request;
    // No handler has seen it: without this the log has no reason.
    if (call.code === undefined && this.#code !== "OK" && this.#code !== "Canceled")
      call.error ??= unseenRequest(this.#code);
    onAnswered(call.code ?? this.#code);
    return super.end(...(rest as []));
  }

  #mayQuote(): boolean {
    const { call, headers } = this.#request;
    return call.code === undefined && headers["content-type"]?.includes("json") === true;
  }
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

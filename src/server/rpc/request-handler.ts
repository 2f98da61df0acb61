/**
 * Every stream of the socket, from its headers to its end: admission, the call's budget, the fast path, and Connect's
 * handlers for what the fast path leaves over.
 */
import type { Http2Session, IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Code } from "@connectrpc/connect";
import { ProviderError } from "../../errors.ts";
import { type Alarm, setAlarm } from "../../process/alarms.ts";
import type { Admission } from "./admission.ts";
import { beginCall, type Call, type CodeName, codeName, type EndedCall } from "./call.ts";
import type { ConnectRequest } from "./connect.ts";
import { answerTimeMs, callerTimeoutMs } from "./deadline.ts";
import { toCallError } from "./errors.ts";
import { type FastMethod, refusedRequest, tryFastPath, unseenRequest } from "./fast-path.ts";
import { isCompressed, isPlainGrpc, statusTrailers } from "./grpc.ts";
import { type Method, methods } from "./methods.ts";
import { endWithHeaders, isGone } from "./stream.ts";

/** How a request handler is made. */
export interface RequestHandlerOptions {
  /** By path. */
  readonly fastMethods: ReadonlyMap<string, FastMethod>;
  readonly connect: (request: ConnectRequest) => void | Promise<void>;
  /** Longest time of a unary call, in ms. A stream lives as long as its caller wants. */
  readonly timeoutMs: number;
  readonly admission: Admission;
  /** Called once for each call, when it has been answered or its caller has left. Must not throw. */
  readonly onEnd: (call: EndedCall, code: CodeName) => void;
}

/** What node:http2 calls with each stream. Never throws, never rejects. */
export type RequestHandler = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  rawHeaders: readonly string[],
) => void;

/** Makes the handler of all requests of a server. */
export function createRequestHandler(options: RequestHandlerOptions): RequestHandler {
  const { fastMethods, connect, timeoutMs, admission, onEnd } = options;
  const later = createQueue();

  return (stream, headers, rawHeaders) => {
    // Without a listener the event would end the process; what there is to do is done on "close".
    stream.on("error", () => undefined);
    const start = (): boolean => {
      const isThere = !isGone(stream);
      if (isThere) begin(stream, headers, rawHeaders);
      return isThere;
    };
    if (admission.isFirst(stream)) start();
    else later(stream.session, start);
  };

  function begin(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[],
  ): void {
    const path = headers[":path"]?.split("?", 1)[0] ?? "";
    const method = methods.get(path);
    if (method === undefined) {
      refuse(stream, headers, unknownMethod);
      return;
    }
    if (isCompressed(headers)) {
      refuse(stream, headers, compressedMessages);
      const error = refusedRequest("compressed messages");
      onEnd({ method, startedAt: performance.now(), error }, codeName(compressedMessages.code));
      return;
    }
    const slot = admission.admit(method, stream);
    if (slot === undefined) {
      refuseOverload(method, stream, headers);
      return;
    }
    const limitMs = method.isStream ? undefined : timeoutMs;
    const call = beginCall(method, slot, limitMs, answerTimeMs(callerTimeoutMs(headers)));
    const fastMethod = isPlainGrpc(headers) ? fastMethods.get(path) : undefined;
    void serve(call, fastMethod, { stream, headers, rawHeaders });
  }

  async function serve(
    call: Call,
    fastMethod: FastMethod | undefined,
    request: Pick<ConnectRequest, "stream" | "headers" | "rawHeaders">,
  ): Promise<void> {
    const { stream } = request;
    let isAnswered = false;
    let unread: Alarm | undefined;
    const onAnswered = (code: CodeName): void => {
      if (isAnswered) return;
      isAnswered = true;
      call.slot.setWaiting(true);
      // A client that does not read its answer loses its slot all the same.
      if (!isGone(stream)) unread = setAlarm(timeoutMs, () => stream.destroy());
      call.budget.end();
      onEnd(call, code);
    };
    stream.once("close", () => {
      call.slot.end(call.code === "OK" && stream.rstCode === 0);
      call.budget.cancel();
      unread?.cancel();
    });
    const chunks = fastMethod === undefined ? [] : await tryFastPath(fastMethod, stream, call);
    if (chunks === undefined) {
      onAnswered(call.code ?? "Unknown");
      return;
    }
    const onGone = (): void => {
      call.error ??= unseenRequest(undefined);
      onAnswered(call.code ?? "Canceled");
    };
    if (isGone(stream)) {
      onGone();
      return;
    }
    // The adapter does not report that its client has left.
    stream.once("close", onGone);
    await connect({ ...request, call, chunks, onAnswered });
  }

  /** By the headers alone: what it takes to understand a call, times thousands, is more memory than there may be. */
  function refuseOverload(method: Method, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const error = new ProviderError("OVERLOADED", admission.describe());
    const { code, message: text } = toCallError(error);
    refuse(stream, headers, { code, text, httpStatus: 429 });
    onEnd({ method, startedAt: performance.now(), error }, codeName(code));
  }
}

/** Calls of clients that are not proven that begin in one turn of the loop. */
const beginsPerTurn = 64;

/**
 * Makes what begins calls in later turns of the loop, some in each, so that thousands of calls do not delay those of proven
 * clients. The sessions take turns. By then a stream that was reset with its own headers is gone: it costs nothing.
 */
function createQueue(): (session: Http2Session | undefined, begin: () => boolean) => void {
  const waiting = new Map<Http2Session | undefined, (() => boolean)[]>();
  let isScheduled = false;
  const beginSome = (): void => {
    isScheduled = false;
    let begun = 0;
    // A session that is put back is at the end of the map, and is come to again.
    for (const [session, begins] of waiting) {
      if (begun === beginsPerTurn) break;
      waiting.delete(session);
      let hasBegun = false;
      while (!hasBegun && begins.length > 0) hasBegun = begins.shift()?.() ?? false;
      if (hasBegun) begun += 1;
      if (begins.length > 0) waiting.set(session, begins);
    }
    schedule();
  };
  const schedule = (): void => {
    if (isScheduled || waiting.size === 0) return;
    isScheduled = true;
    setImmediate(beginSome);
  };
  return (session, begin) => {
    const begins = waiting.get(session);
    if (begins === undefined) waiting.set(session, [begin]);
    else begins.push(begin);
    schedule();
  };
}

/** An answer without a handler. */
interface Refusal {
  readonly code: Code;
  readonly text: string;
  /** For a client that does not speak gRPC. */
  readonly httpStatus: number;
}

/** gRPC clients read 404 as Unimplemented; those that see grpc-status get it explicitly. */
const unknownMethod: Refusal = {
  code: Code.Unimplemented,
  text: "unknown service or method",
  httpStatus: 404,
};

/** Nothing is decompressed, so that nothing can be a bomb: kube-apiserver compresses nothing. */
const compressedMessages: Refusal = {
  code: Code.Unimplemented,
  text: "compressed messages are not accepted: send them uncompressed",
  httpStatus: 415,
};

function refuse(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  { code, text, httpStatus }: Refusal,
): void {
  const isGrpc = headers["content-type"]?.startsWith("application/grpc") === true;
  endWithHeaders(
    stream,
    isGrpc
      ? { ":status": 200, "content-type": "application/grpc", ...statusTrailers(code, text) }
      : { ":status": httpStatus },
  );
}

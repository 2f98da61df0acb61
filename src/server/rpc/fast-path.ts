/**
 * The fast path: KMS v2's three methods over gRPC as kube-apiserver calls them, one well-formed and uncompressed
 * message, with nothing of Connect's pipeline, which costs three times as much. Whatever is not of
 * that form is left to Connect's handlers, with the chunks that have been read.
 */
import type { ServerHttp2Stream } from "node:http2";
import { Code } from "@connectrpc/connect";
import { toProviderError } from "../../errors.ts";
import { type Call, type CodeName, codeName, runCall } from "./call.ts";
import { toCallError } from "./errors.ts";
import { frame, framePrefixBytes, unframe } from "./grpc.ts";
import type { KmsService } from "./kms-service.ts";
import { maxMessageBytes } from "./limits.ts";
import { kmsMessages, type MessageCodec } from "./messages.ts";
import { endWithMessage, endWithStatus } from "./stream.ts";

/** Answers the bytes of a request with those of a reply; undefined where they are no message of the method's. */
export type FastMethod = (message: Uint8Array, call: Call) => Promise<Uint8Array> | undefined;

/** The reason in the log for a request that no handler saw. It quotes nothing of the request. */
export function refusedRequest(why: string): string {
  return `the request was refused before it was a call: ${why}`;
}

/** The same, where only the code of its answer is known; undefined: it has none. */
export function unseenRequest(code: CodeName | undefined): string {
  return refusedRequest(unseenReasons[code ?? "Canceled"] ?? "malformed, too long, or cut short");
}

const unseenReasons: Readonly<Partial<Record<CodeName, string>>> = {
  InvalidArgument: "malformed",
  // What gRPC calls a message that cannot be parsed.
  Internal: "malformed",
  ResourceExhausted: `longer than ${maxMessageBytes} bytes`,
  DeadlineExceeded: "not complete in time",
  Unimplemented: "its content type, HTTP method or encoding is not supported",
};

/** The methods of the KMS service, by their paths. */
export function createFastMethods(service: KmsService): ReadonlyMap<string, FastMethod> {
  const { StatusRequest, StatusResponse, EncryptRequest, EncryptResponse } = kmsMessages;
  const { DecryptRequest, DecryptResponse } = kmsMessages;
  return new Map([
    ["/v2.KeyManagementService/Status", createFastMethod(StatusRequest, StatusResponse, service.status)],
    ["/v2.KeyManagementService/Encrypt", createFastMethod(EncryptRequest, EncryptResponse, service.encrypt)],
    ["/v2.KeyManagementService/Decrypt", createFastMethod(DecryptRequest, DecryptResponse, service.decrypt)],
  ]);
}

function createFastMethod<I extends object, O>(
  input: MessageCodec<I>,
  output: MessageCodec<O>,
  handle: (request: I, call: Call) => Promise<O>,
): FastMethod {
  return (bytes, call) => {
    let request: I;
    try {
      request = input.decode(bytes);
    } catch {
      return undefined;
    }
    return runCall(call, request, async () => output.encode(await handle(request, call)));
  };
}

/**
 * Answers a request on the fast path.
 * @returns undefined once it is answered, or its client gone; where the request is not of the plain form, what was
 *   read of its body
 */
export async function tryFastPath(
  method: FastMethod,
  stream: ServerHttp2Stream,
  call: Call,
): Promise<readonly Uint8Array[] | undefined> {
  const { chunks, end } = await readBody(stream, call.budget.signal);
  if (end === "too long") return chunks;
  if (end === "aborted") {
    endUnread(stream, call);
    return undefined;
  }
  const [only] = chunks;
  const body = chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks);
  const message = unframe(body, maxMessageBytes);
  call.slot.setWaiting(false);
  const reply = message === undefined ? undefined : method(message, call);
  if (reply === undefined) return chunks;
  try {
    endWithMessage(stream, frame(await reply));
  } catch (error) {
    const { code, message: text } = toCallError(error);
    endWithStatus(stream, code, text);
  }
  return undefined;
}

/** The call's time is over, or its client has left, before the whole request was here. */
function endUnread(stream: ServerHttp2Stream, call: Call): void {
  const reason = toProviderError(call.budget.signal.reason);
  if (reason.kind === "timeout") {
    call.code = codeName(Code.DeadlineExceeded);
    endWithStatus(stream, Code.DeadlineExceeded, "the request was not complete in time");
  } else {
    call.code = codeName(toCallError(reason).code);
  }
  call.error = unseenRequest(call.code);
}

interface Body {
  readonly chunks: readonly Uint8Array[];
  readonly end: "whole" | "too long" | "aborted";
}

/** Reads a request's body. `too long`: the rest is still to be read. `aborted`: the call's time is over, or its client has left. */
function readBody(stream: ServerHttp2Stream, signal: AbortSignal): Promise<Body> {
  return new Promise((resolve) => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    const onData = (chunk: Uint8Array): void => {
      chunks.push(chunk);
      length += chunk.byteLength;
      if (length > framePrefixBytes + maxMessageBytes) stop("too long");
    };
    const onEnd = (): void => settle("whole");
    const onAbort = (): void => stop("aborted");
    const stop = (end: Body["end"]): void => {
      stream.pause();
      settle(end);
    };
    const settle = (end: Body["end"]): void => {
      stream.off("data", onData).off("end", onEnd);
      signal.removeEventListener("abort", onAbort);
      resolve({ chunks, end });
    };
    stream.on("data", onData).once("end", onEnd);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    // A request without a body has ended by now.
    else if (stream.readableEnded) onEnd();
  });
}

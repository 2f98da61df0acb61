/**
 * The fast path: KMS v2's three methods over gRPC as kube-apiserver calls them, one well-formed and uncompressed
 * message, with protobuf-es and nothing of Connect's pipeline, which costs three times as much. Whatever is not of
 * that form is left to Connect's handlers, with the chunks that have been read.
 */
import type { ServerHttp2Stream } from "node:http2";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { toProviderError } from "../../errors.ts";
import { type Call, codeName, runCall } from "./call.ts";
import { toConnectError } from "./errors.ts";
import { frame, framePrefixBytes, unframe } from "./grpc.ts";
import type { KmsService } from "./kms-service.ts";
import { maxMessageBytes } from "./limits.ts";
import { endWithMessage, endWithStatus } from "./stream.ts";

/** Answers the bytes of a request with those of a reply; undefined where they are no message of the method's. */
export type FastMethod = (message: Uint8Array, call: Call) => Promise<Uint8Array> | undefined;

/** The reason in the log for a request that no handler saw. */
export const unseenRequest =
  "the request was refused before it was a call: malformed, too long, or cut short";

/** The methods of the KMS service, by their paths. */
export function createFastMethods(service: KmsService): ReadonlyMap<string, FastMethod> {
  const { status, encrypt, decrypt } = KeyManagementService.method;
  return new Map([
    [pathOf(status), createFastMethod(status, service.status)],
    [pathOf(encrypt), createFastMethod(encrypt, service.encrypt)],
    [pathOf(decrypt), createFastMethod(decrypt, service.decrypt)],
  ]);
}

/** `/v2.KeyManagementService/Status` */
export function pathOf(method: {
  readonly name: string;
  readonly parent: { readonly typeName: string };
}): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function createFastMethod<M extends DescMethodUnary>(
  method: M,
  handle: (request: MessageShape<M["input"]>, call: Call) => Promise<MessageInitShape<M["output"]>>,
): FastMethod {
  const { input, output }: { input: M["input"]; output: M["output"] } = method;
  return (bytes, call) => {
    let request: MessageShape<M["input"]>;
    try {
      request = fromBinary(input, bytes);
    } catch {
      return undefined;
    }
    return runCall(call, request, async () => toBinary(output, create(output, await handle(request, call))));
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
    const { code, rawMessage } = toConnectError(error);
    endWithStatus(stream, code, rawMessage);
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
    call.code = codeName(toConnectError(reason).code);
  }
  call.error = unseenRequest;
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

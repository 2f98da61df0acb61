/**
 * Unary gRPC calls the short way: one message in, one out, uncompressed, as kube-apiserver sends them. Made of
 * Connect's own parts (message limits, interceptors, implementation, status) without its pipeline of streams,
 * which costs three times as much. Whatever is not of that plain form is left to Connect's handler.
 */
import type { DescMessage, DescMethodUnary, MessageShape } from "@bufbuild/protobuf";
import type { HandlerContext, Interceptor, MethodImplSpec, ServiceImplSpec } from "@connectrpc/connect";
import { Code, ConnectError, createContextValues } from "@connectrpc/connect";
import {
  createMethodSerializationLookup,
  encodeEnvelope,
  invokeUnaryImplementation,
} from "@connectrpc/connect/protocol";
import { contentTypeProto, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import type { IncomingHttpHeaders } from "node:http2";
import { type Call, callKey } from "./call.ts";
import { callerTimeoutMs } from "./deadline.ts";

/** An answer: the bytes of the body, and the trailers. */
export interface UnaryReply {
  readonly body: Uint8Array;
  readonly trailer: Headers;
}

/** A method by its short way. */
export interface UnaryMethod {
  /** Whether a request with these headers may be of the plain form. */
  readonly accepts: (headers: IncomingHttpHeaders) => boolean;
  /** Answers a request; undefined where its body is not one well-formed message: Connect's handler says what is wrong. */
  readonly answer: (body: Uint8Array, header: Headers, call: Call) => Promise<UnaryReply> | undefined;
}

/** Content type of every answer. */
export const unaryContentType = contentTypeProto;
/** In front of each message: a byte of flags, and its length (gRPC over HTTP/2, "Length-Prefixed-Message"). */
export const envelopeBytes = 5;

export interface UnaryOptions {
  readonly readMaxBytes: number;
  readonly writeMaxBytes: number;
  readonly interceptors: Interceptor[];
}

/** The unary methods of a service, by their path. */
export function createUnaryMethods(
  spec: ServiceImplSpec,
  options: UnaryOptions,
): ReadonlyMap<string, UnaryMethod> {
  const methods = new Map<string, UnaryMethod>();
  for (const method of Object.values(spec.methods))
    if (method.kind === "unary")
      methods.set(`/${spec.service.typeName}/${method.method.name}`, createUnaryMethod(method, options));
  return methods;
}

function createUnaryMethod<I extends DescMessage, O extends DescMessage>(
  spec: MethodImplSpec<I, O> & { kind: "unary"; method: DescMethodUnary<I, O> },
  options: UnaryOptions,
): UnaryMethod {
  const serialization = createMethodSerializationLookup(spec.method, undefined, undefined, options);
  const input = serialization.getI(true);
  const output = serialization.getO(true);
  const { parent } = spec.method;
  const url = `http://localhost/${parent.typeName}/${spec.method.name}`;

  function parse(body: Uint8Array): MessageShape<I> | undefined {
    if (body.byteLength < envelopeBytes || body[0] !== 0) return undefined;
    const length = new DataView(body.buffer, body.byteOffset).getUint32(1);
    if (body.byteLength !== envelopeBytes + length || length > options.readMaxBytes) return undefined;
    try {
      return input.parse(body.subarray(envelopeBytes));
    } catch {
      return undefined;
    }
  }

  async function invoke(message: MessageShape<I>, requestHeader: Headers, call: Call): Promise<UnaryReply> {
    const trailer = new Headers();
    const context: HandlerContext = {
      method: spec.method,
      service: parent,
      requestMethod: "POST",
      protocolName: "grpc",
      url,
      // The call's budget holds the deadline.
      timeoutMs: () => undefined,
      signal: call.budget.signal,
      requestHeader,
      responseHeader: new Headers(),
      responseTrailer: trailer,
      values: createContextValues().set(callKey, call),
    };
    try {
      const reply = await invokeUnaryImplementation(spec, context, message, options.interceptors);
      const body = encodeEnvelope(0, output.serialize(reply));
      setTrailerStatus(trailer, undefined);
      return { body, trailer };
    } catch (error) {
      const known =
        error instanceof ConnectError
          ? error
          : new ConnectError("internal error", Code.Internal, undefined, undefined, error);
      setTrailerStatus(trailer, known);
      return { body: new Uint8Array(), trailer };
    }
  }

  return {
    accepts: isPlain,
    answer(body, header, call) {
      const message = parse(body);
      return message === undefined ? undefined : invoke(message, header, call);
    },
  };
}

function isPlain(headers: IncomingHttpHeaders): boolean {
  const type = headers["content-type"];
  const encoding = headers["grpc-encoding"];
  return (
    headers[":method"] === "POST" &&
    (type === "application/grpc" || type === unaryContentType) &&
    (encoding === undefined || encoding === "identity") &&
    (headers["grpc-timeout"] === undefined || callerTimeoutMs(headers) !== undefined)
  );
}

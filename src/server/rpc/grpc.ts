/**
 * gRPC's framing of a unary call over HTTP/2 (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md): one message in, one out,
 * uncompressed, and the status in the trailers.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http2";
import { callerTimeoutMs } from "./deadline.ts";

/** Content type of every reply. */
export const grpcContentType = "application/grpc+proto";
/** In front of each message: a byte of flags, and four of its length. */
export const framePrefixBytes = 5;

/** Whether a request with these headers may have a plain message for its body. */
export function isPlainGrpc(headers: IncomingHttpHeaders): boolean {
  const type = headers["content-type"];
  return (
    headers[":method"] === "POST" &&
    (type === "application/grpc" || type === grpcContentType) &&
    !isCompressed(headers) &&
    (headers["grpc-timeout"] === undefined || callerTimeoutMs(headers) !== undefined)
  );
}

/** Whether the messages of a request with these headers may be compressed. */
export function isCompressed(headers: IncomingHttpHeaders): boolean {
  const encoding = headers["grpc-encoding"];
  return encoding !== undefined && encoding !== "identity";
}

/** The bytes of the one message in a body; undefined where it is not exactly one, uncompressed, of at most `maxBytes`. */
export function unframe(body: Uint8Array, maxBytes: number): Uint8Array | undefined {
  if (body.byteLength < framePrefixBytes || body[0] !== 0) return undefined;
  const length = new DataView(body.buffer, body.byteOffset).getUint32(1);
  if (length > maxBytes || body.byteLength !== framePrefixBytes + length) return undefined;
  return body.subarray(framePrefixBytes);
}

/** A message with its prefix. */
export function frame(message: Uint8Array): Uint8Array {
  const framed = Buffer.allocUnsafe(framePrefixBytes + message.byteLength);
  framed[0] = 0;
  framed.writeUInt32BE(message.byteLength, 1);
  framed.set(message, framePrefixBytes);
  return framed;
}

/** The trailers of a status; 0 is OK. */
export function statusTrailers(code: number, message = ""): OutgoingHttpHeaders {
  return code === 0
    ? { "grpc-status": "0" }
    : { "grpc-status": String(code), "grpc-message": encodeGrpcMessage(message) };
}

/** Percent-encodes what gRPC asks for, and no more: all but printable ASCII, and the percent sign. */
export function encodeGrpcMessage(message: string): string {
  if (/^[\x20-\x24\x26-\x7e]*$/.test(message)) return message;
  return Array.from(Buffer.from(message), (byte) =>
    byte < 0x20 || byte > 0x7e || byte === 0x25
      ? `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
      : String.fromCodePoint(byte),
  ).join("");
}

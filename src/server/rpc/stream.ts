/** How a stream of node:http2 is answered: what to do where its client is gone, or has not sent its whole request. */
import type { ServerHttp2Stream } from "node:http2";
import { constants } from "node:http2";
import { grpcContentType, statusTrailers } from "./grpc.ts";

/** Whether nothing can be written any more: its "close" may still be to come. */
export function isGone(stream: ServerHttp2Stream): boolean {
  return stream.destroyed || stream.closed;
}

const replyHeaders = { ":status": 200, "content-type": grpcContentType };

/** Answers with one framed message and the status OK. */
export function endWithMessage(stream: ServerHttp2Stream, message: Uint8Array): void {
  if (isGone(stream)) return;
  stream.once("wantTrailers", () => {
    if (isGone(stream)) return;
    stream.sendTrailers(statusTrailers(0));
    closeUnread(stream);
  });
  stream.respond(replyHeaders, { waitForTrailers: true });
  stream.end(message);
}

/** Answers with a status alone: gRPC's "Trailers-Only". */
export function endWithStatus(stream: ServerHttp2Stream, code: number, message: string): void {
  endWithHeaders(stream, { ...replyHeaders, ...statusTrailers(code, message) });
}

/** Answers with headers alone. */
export function endWithHeaders(stream: ServerHttp2Stream, headers: Record<string, unknown>): void {
  if (isGone(stream)) return;
  stream.respond(headers as { ":status": number }, { endStream: true });
  closeUnread(stream);
}

/** Stops a request that is still being sent; what is to be written is out by then. */
export function closeUnread(stream: ServerHttp2Stream): void {
  if (stream.readableEnded) return;
  // What has come and is not read would keep the stream open.
  stream.resume();
  setImmediate(() => {
    if (!stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
  });
}

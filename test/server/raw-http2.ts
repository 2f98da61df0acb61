/**
 * gRPC by hand on node:http2, for requests that no gRPC client would send.
 */
import { once } from "node:events";
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";
import { connect as connectHttp2 } from "node:http2";
import type { Socket } from "node:net";
import { connect } from "node:net";
import type { TestContext } from "node:test";

/** A session to the socket, connected. Its errors are the test's subject, not its failure. */
export async function openSession(t: TestContext, socketPath: string): Promise<ClientHttp2Session> {
  const session = connectHttp2("http://localhost", { createConnection: () => connect({ path: socketPath }) });
  session.on("error", () => undefined);
  t.after(() => session.destroy());
  await once(session, "connect");
  return session;
}

/** Resolves when the server has seen all that was sent on the session before. */
export async function roundTrip(session: ClientHttp2Session): Promise<Buffer> {
  return await new Promise((resolve, reject) => {
    session.ping((error, _duration, payload) => {
      if (error === null) resolve(payload);
      else reject(error);
    });
  });
}

/** A request to a method of the KMS service, its body not yet sent. */
export function openStream(
  session: ClientHttp2Session,
  method: string,
  headers: Record<string, string> = {},
): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": `/v2.KeyManagementService/${method}`,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  return stream.on("error", () => undefined);
}

/** A message in gRPC's frame: a flag, four bytes of length, the message. */
export function frame(message: Uint8Array, flags = 0, length = message.length): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

/** How a stream was answered. */
export interface RawReply {
  readonly httpStatus: number | undefined;
  /** grpc-status; undefined where the stream ended without. */
  readonly status: number | undefined;
  readonly message: string;
  readonly body: Buffer;
  /** All headers and trailers. */
  readonly fields: IncomingHttpHeaders;
}

/** Waits until a stream has closed. */
export async function replyOf(stream: ClientHttp2Stream): Promise<RawReply> {
  let fields: IncomingHttpHeaders = {};
  const take = (headers: IncomingHttpHeaders): void => {
    fields = { ...fields, ...headers };
  };
  const chunks: Buffer[] = [];
  stream.on("response", take).on("trailers", take);
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => stream.once("close", resolve));
  const status = fields["grpc-status"];
  return {
    httpStatus: fields[":status"] as number | undefined,
    status: status === undefined ? undefined : Number(status),
    message: decodeURIComponent(String(fields["grpc-message"] ?? "")),
    body: Buffer.concat(chunks),
    fields,
  };
}

/** Frames of HTTP/2 (RFC 9113, section 4.1) made by hand, for what node:http2 would not send. */
export const preface = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), http2Frame(4, 0, 0)]);

function http2Frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** The types of the frames in `bytes`. */
export function frameTypes(bytes: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3))
    types.push(bytes.readUInt8(at + 3));
  return types;
}

function literal(name: readonly number[], value: string): Buffer {
  return Buffer.concat([Buffer.of(...name, value.length), Buffer.from(value)]);
}

/** HEADERS of a call of the KMS service, without END_STREAM: HPACK's static table, and literals without an index. */
export function headersFrame(stream: number, method: string): Buffer {
  const fields = [
    // :method POST, :scheme http
    Buffer.of(0x83, 0x86),
    literal([0x01], "localhost"),
    literal([0x04], `/v2.KeyManagementService/${method}`),
    literal([0x0f, 0x10], "application/grpc"),
  ];
  return http2Frame(1, 4, stream, Buffer.concat(fields));
}

/** RST_STREAM with CANCEL. */
export function resetFrame(stream: number): Buffer {
  return http2Frame(3, 0, stream, Buffer.of(0, 0, 0, 8));
}

/** A connection to the socket that has sent an HTTP/2 preface, and reads nothing until told. */
export async function openRawConnection(t: TestContext, socketPath: string): Promise<Socket> {
  const socket = connect({ path: socketPath });
  socket.on("error", () => undefined);
  t.after(() => socket.destroy());
  await once(socket, "connect");
  socket.write(preface);
  return socket;
}

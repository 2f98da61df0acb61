/**
 * The least that a plugin on Node can need: a bare node:http2 server on a Unix socket that answers with bytes made before, after
 * one bare exchange with the KMS for each Decrypt. No limits, no log, no retries, no decoding. Imports nothing but Node's own,
 * for it is run without its types. Argument: {@link FloorOptions} as JSON.
 */
import { readFileSync } from "node:fs";
import { connect as connectHttp2, createServer, type ServerHttp2Stream } from "node:http2";
import { connect as connectTls, type TLSSocket } from "node:tls";

/** How it is started. Bytes are hexadecimal; replies are protobuf messages. */
export interface FloorOptions {
  readonly sock: string;
  readonly replies: Readonly<Record<"Status" | "Encrypt" | "Decrypt", string>>;
  /** The KMIP server and the Decrypt request it gets. */
  readonly kmip?: { readonly host: string; readonly port: number; readonly request: string };
  /** The REST server and the body of the request it gets. */
  readonly rest?: { readonly url: string; readonly path: string; readonly body: string };
  readonly files: { readonly cert: string; readonly key: string; readonly ca: string };
}

type Exchange = (done: () => void) => void;

const options = JSON.parse(process.argv[2] ?? "") as FloorOptions;
const tls = {
  cert: readFileSync(options.files.cert),
  key: readFileSync(options.files.key),
  ca: readFileSync(options.files.ca),
};

/** As many as the plugin has; a request that finds none idle waits for one. */
const connections = 8;
/** Tag, type and length, as TTLV begins. */
const headerBytes = 8;

function overKmip({ host, port, request }: NonNullable<FloorOptions["kmip"]>): Exchange {
  const bytes = Buffer.from(request, "hex");
  const idle: TLSSocket[] = [];
  const waiting: (() => void)[] = [];
  const current = new Map<TLSSocket, () => void>();
  let made = 0;

  const send = (socket: TLSSocket, done: () => void): void => {
    current.set(socket, done);
    socket.write(bytes);
  };
  const open = (): TLSSocket => {
    made += 1;
    const socket = connectTls({ ...tls, host, port });
    socket.setNoDelay();
    let expected = 0;
    let received = 0;
    socket.on("data", (chunk: Buffer) => {
      if (expected === 0) expected = headerBytes + chunk.readUInt32BE(4);
      received += chunk.length;
      if (received < expected) return;
      expected = 0;
      received = 0;
      const done = current.get(socket);
      const next = waiting.shift();
      if (next === undefined) idle.push(socket);
      else send(socket, next);
      done?.();
    });
    return socket;
  };
  return (done) => {
    const socket = idle.pop();
    if (socket !== undefined) send(socket, done);
    else if (made < connections) send(open(), done);
    else waiting.push(done);
  };
}

function overRest({ url, path, body }: NonNullable<FloorOptions["rest"]>): Exchange {
  let session: ReturnType<typeof connectHttp2> | undefined;
  const headers = { ":method": "POST", ":path": path, "content-type": "application/json" };
  return (done) => {
    session ??= connectHttp2(url, tls);
    const stream = session.request(headers);
    stream.resume();
    stream.on("end", done);
    stream.end(body);
  };
}

/** Puts the five-byte gRPC prefix before a message. */
function framed(hex: string): Buffer {
  const message = Buffer.from(hex, "hex");
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

const exchange: Exchange | undefined =
  options.kmip === undefined ? options.rest && overRest(options.rest) : overKmip(options.kmip);
const replies: Readonly<Record<string, Buffer>> = Object.fromEntries(
  Object.entries(options.replies).map(([method, hex]) => [method, framed(hex)]),
);

function reply(stream: ServerHttp2Stream, method: string): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(replies[method]);
}

const server = createServer();
server.on("stream", (stream, headers) => {
  const method = String(headers[":path"]).slice("/v2.KeyManagementService/".length);
  stream.resume();
  stream.on("end", () => {
    if (method === "Decrypt") exchange?.(() => reply(stream, method));
    else reply(stream, method);
  });
});
server.listen(options.sock);
process.once("SIGTERM", () => process.exit());

/**
 * How an HTTP/2 server ends a connection, as a load balancer does at each of its limits and reloads: with GOAWAY, after which it
 * still answers what it has accepted; and with the reply itself. The server writes its frames itself, so that all come in one packet.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { after, before, test, type TestContext } from "node:test";
import { createServer } from "node:tls";
import { NetworkError } from "../../src/errors.ts";
import { parseRestAddress } from "../../src/net/address.ts";
import { secureContextOf } from "../../src/net/tls.ts";
import { openRestConnection, type RestConnection } from "../../src/rest/connection.ts";
import { createLearned } from "../../src/upstream/learned.ts";
import { type Authority, createAuthority, type IssuedCertificate } from "../devkms/certificates.ts";
import { clientMaterial } from "./harness.ts";

const type = { data: 0, headers: 1, settings: 4, goaway: 7 } as const;
const endStream = 1;
const endHeaders = 4;

/** A frame of RFC 9113, section 4.1. */
function frame(kind: keyof typeof type, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type[kind];
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const settings = frame("settings", 0, 0, Buffer.alloc(0));
/** NO_ERROR; the first stream is the last that is accepted. */
const goaway = frame("goaway", 0, 0, Buffer.from([0, 0, 0, 1, 0, 0, 0, 0]));
/** `:status: 200` and `content-length: 2` in HPACK, then `{}`. */
const reply = Buffer.concat([
  frame("headers", endHeaders, 1, Buffer.from([0x88, 0x5c, 0x01, 0x32])),
  frame("data", endStream, 1, Buffer.from("{}")),
]);
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

let authority: Authority;
let server: IssuedCertificate;
before(async () => {
  authority = await createAuthority();
  server = await authority.issue({ commonName: "kms", ipAddresses: ["127.0.0.1"], server: true });
});

const sockets = new Set<Socket>();
after(() => {
  for (const socket of sockets) socket.destroy();
});

/** Streams that are opened in what a client sent. */
function streamsIn(sent: Buffer): number[] {
  const streams: number[] = [];
  for (let at = preface.length; at + 9 <= sent.length; at += 9 + sent.readUIntBE(at, 3))
    if (sent[at + 3] === type.headers) streams.push(sent.readUInt32BE(at + 5));
  return streams;
}

/** A connection to a server that is told which streams are open, whenever there are more. */
async function connect(
  t: TestContext,
  onStreams: (streams: number[], socket: Socket) => void,
): Promise<RestConnection> {
  const listener = createServer(
    { ...server, ca: authority.caPem, requestCert: true, ALPNProtocols: ["h2"] },
    (socket) => {
      let sent = Buffer.alloc(0);
      sockets.add(socket.on("error", () => undefined));
      socket.write(settings);
      socket.on("data", (chunk: Buffer) => {
        sent = Buffer.concat([sent, chunk]);
        onStreams(streamsIn(sent), socket);
      });
    },
  );
  t.after(() => listener.close());
  await once(listener.listen(0, "127.0.0.1"), "listening");
  const { port } = listener.address() as AddressInfo;
  const connection = await openRestConnection(parseRestAddress(`https://127.0.0.1:${port}`), {
    secureContext: secureContextOf(await clientMaterial(authority)),
    signal: AbortSignal.timeout(5_000),
    nthAddress: 0,
    session: undefined,
    onSession: () => undefined,
    onStage: () => undefined,
    learned: createLearned(() => undefined),
  });
  assert.match(connection.agreed, /HTTP\/2/);
  return connection;
}

const request = { method: "GET", path: "/api", body: undefined, maxReplyBytes: 100 } as const;

for (const [what, frames] of [
  ["its reply", reply],
  ["GOAWAY and its reply", Buffer.concat([goaway, reply])],
] as const)
  test(`a server that ends the connection in the same packet as ${what} has answered`, async (t) => {
    const connection = await connect(t, (streams, socket) => {
      if (streams.length === 1 && socket.writable) socket.end(frames);
    });
    const { status, body } = await connection.send(request).reply;
    assert.deepEqual([status, String(body)], [200, "{}"]);
    await connection.closed;
  });

test("what a server did not accept before its GOAWAY is lost, and no doubt of the client certificate", async (t) => {
  const connection = await connect(t, (streams, socket) => {
    if (streams.length === 3 && socket.writable) socket.end(Buffer.concat([goaway, reply]));
  });
  const first = connection.send(request).reply;
  const others = [connection.send(request).reply, connection.send(request).reply];
  for (const other of others)
    await assert.rejects(other, (error) => {
      assert.ok(error instanceof NetworkError);
      assert.deepEqual([error.code, error.clientCertificate], ["CLOSED", undefined]);
      assert.doesNotMatch(error.message, /certificate/);
      return true;
    });
  assert.equal((await first).status, 200);
});

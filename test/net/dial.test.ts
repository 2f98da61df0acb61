/** A dial that the other side ends: what it had sent until then tells a load balancer from a server that refuses this client. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { after, before, test, type TestContext } from "node:test";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { parseKmipAddress } from "../../src/net/address.ts";
import { dialTls } from "../../src/net/dial.ts";
import { loadTlsMaterial, secureContextOf } from "../../src/net/tls.ts";

let kms: DevKms;
before(async () => {
  kms = await startDevKms({ rest: false });
});
after(() => kms.close());

/** Listens on a free port until the test ends. */
async function listen(t: TestContext, onConnection: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => undefined));
    onConnection(socket);
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function dial(server: string): Promise<Socket> {
  return dialTls({
    ...parseKmipAddress(server),
    secureContext: secureContextOf(await loadTlsMaterial(kms.clientFiles)),
    signal: AbortSignal.timeout(5_000),
  });
}

/** Passes the first bytes of the server's answer on, and then hangs up. */
function cutInHandshake(socket: Socket): void {
  const { host, port } = parseKmipAddress(kms.kmipAddress);
  const far = connect({ host, port });
  far.once("data", (flight) => {
    socket.end(flight.subarray(0, 100));
    far.destroy();
  });
  socket.once("data", (hello) => far.write(hello));
}

const closers: readonly (readonly [string, (socket: Socket) => void])[] = [
  ["at once", (socket) => socket.end()],
  ["with a reset", (socket) => socket.resetAndDestroy()],
  ["after it has read the first message", (socket) => socket.once("data", () => socket.end())],
];
for (const [when, close] of closers)
  test(`one that closes ${when} is no server that refuses the client certificate`, async (t) => {
    await assert.rejects(dial(await listen(t, close)), {
      code: "CONNECT",
      clientCertificate: undefined,
      message: /closed the connection before the TLS handshake: probably a load balancer or a firewall/,
    });
  });

test("one that closes in the middle of the handshake may refuse the client certificate", async (t) => {
  await assert.rejects(dial(await listen(t, cutInHandshake)), {
    code: "CONNECT",
    clientCertificate: "may be refused",
    message: /closed the connection during the TLS handshake; it may have refused the client certificate/,
  });
});

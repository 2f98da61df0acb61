/** A server that takes TCP connections and says nothing, as one that hangs does: for dials and handshakes. */
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import type { TestContext } from "node:test";

/** One that listens until its test ends. */
export interface SilentServer {
  /** `host:port`. */
  readonly address: string;
  readonly port: number;
  /** Connections accepted since the start. */
  accepted(): number;
}

/** Starts one, on a free port of 127.0.0.1 unless told otherwise. */
export async function startSilentServer(
  t: TestContext,
  { host = "127.0.0.1", port = 0 } = {},
): Promise<SilentServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket.on("error", () => undefined)));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await once(server.listen(port, host), "listening");
  const bound = (server.address() as AddressInfo).port;
  return { address: `${host}:${bound}`, port: bound, accepted: () => sockets.size };
}

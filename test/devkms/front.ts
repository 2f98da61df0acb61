/**
 * The TCP listener in front of a face, which hands connections to its TLS server. It may look at a ClientHello before, and
 * refuse one that resumes a session.
 */
import { createServer, type Server, type Socket } from "node:net";
import type { Server as TlsServer } from "node:tls";
import { asksToResume, handshakeFailure } from "./client-hello.ts";
import type { Faults } from "./faults.ts";

/**
 * Makes the listener; it does not listen yet.
 * @param server a TLS or HTTPS server that listens nowhere itself.
 * @param onConnection told each TCP connection.
 */
export function createFront(
  server: Pick<TlsServer, "emit">,
  faults: Faults,
  onConnection: (socket: Socket) => void,
): Server {
  return createServer((socket) => {
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy());
    onConnection(socket);
    const { resumption } = faults;
    if (resumption !== "alert" && resumption !== "hang-up") return void server.emit("connection", socket);
    socket.once("data", (hello: Buffer) => {
      if (asksToResume(hello))
        return void (resumption === "alert" ? socket.end(handshakeFailure) : socket.destroy());
      socket.pause();
      socket.unshift(hello);
      server.emit("connection", socket);
    });
  });
}

/**
 * What a dial that hangs is waiting for, told from its socket: name service, network and TLS are three different
 * people's trouble, and each looks like a server that does not answer.
 */
import { isIP, type Socket } from "node:net";

/**
 * Watches a socket that has just begun to connect.
 * @param host what it was given to connect to: a name, or an address.
 * @returns what it waits for when asked, in words that stand in brackets behind "does not answer".
 */
export function watchDial(socket: Socket, host: string): () => string {
  let stage = isIP(host) === 0 ? "DNS gives no answer" : "no answer to TCP";
  socket.once("lookup", () => {
    stage = "no answer to TCP";
  });
  socket.once("connect", () => {
    stage = "it takes TCP and does not end the TLS handshake";
  });
  return () => stage;
}

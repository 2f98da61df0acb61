/**
 * What a dial that hangs is waiting for, by its socket's events: name service, network and TLS are three different
 * people's responsibility, and each seems to be a server that does not answer.
 */
import { isIP, type Socket } from "node:net";

/** A handshake that does not end. */
export const tlsStage = "it takes TCP and does not end the TLS handshake";

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
    stage = tlsStage;
  });
  return () => stage;
}

/**
 * Stands between plugin and KMS as one who could read all of it: ends TLS on both sides, and changes what the KMS
 * answers on command. For what no switch of the embedded KMS does: real replies, with a plaintext in them, broken.
 */
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { connect, createServer } from "node:tls";

/** Certificate and key, as PEM. */
interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** How it is started. */
export interface ManglerOptions {
  /** `host:port` of the KMS. */
  readonly target: string;
  /** Shown to the plugin. */
  readonly server: KeyPair;
  /** Shown to the KMS. */
  readonly client: KeyPair;
  readonly ca: string;
}

/** A mangler at work. */
export interface Mangler {
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  /** Changes each piece of a reply; undefined: leaves it alone. */
  mangle: ((piece: Buffer) => Buffer) | undefined;
  close(): Promise<void>;
}

/** Starts it; HTTP/1.1 only, where text can be changed. */
export async function startMangler({ target, server, client, ca }: ManglerOptions): Promise<Mangler> {
  const colon = target.lastIndexOf(":");
  const [host, port] = [target.slice(0, colon), Number(target.slice(colon + 1))];
  const sockets = new Set<Socket>();
  const ALPNProtocols = ["http/1.1"];

  const listener = createServer({ ...server, ca, requestCert: true, ALPNProtocols }, (near) => {
    const far = connect({ host, port, ...client, ca, ALPNProtocols });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.on("error", () => other.destroy());
      socket.on("close", () => other.destroy());
    }
    near.on("data", (piece: Buffer) => far.write(piece));
    far.on("data", (piece: Buffer) => near.write(mangler.mangle?.(piece) ?? piece));
  });
  // Also those that are still in their handshake when it closes.
  listener.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  listener.on("tlsClientError", () => undefined);
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");

  const mangler: Mangler = {
    address: `127.0.0.1:${(listener.address() as AddressInfo).port}`,
    mangle: undefined,
    async close() {
      listener.close();
      for (const socket of sockets) socket.destroy();
      await once(listener, "close");
    },
  };
  return mangler;
}

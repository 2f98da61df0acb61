/** One connection: the dial with each way it can fail, one exchange at a time, and what closes it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { createSecureContext } from "node:tls";
import { describe, test } from "node:test";
import { NetworkError, ProviderError, TimeoutError } from "../../src/errors.ts";
import { type MessageConnection, openConnection } from "../../src/kmip/connection.ts";
import { parseKmipAddress } from "../../src/net/address.ts";
import { createAuthority } from "../devkms/certificates.ts";
import { clientMaterial, markOf, messageOf, startEchoServer } from "./echo-server.ts";

const material = await clientMaterial();
const never = new AbortController().signal;
const ended = new ProviderError("SHUTTING_DOWN", "the test is over");

async function open(
  address: string,
  options: Partial<Parameters<typeof openConnection>[0]> & { tls?: typeof material } = {},
): Promise<MessageConnection> {
  const { cert, key, ca } = options.tls ?? material;
  return openConnection({
    endpoint: parseKmipAddress(address),
    secureContext: createSecureContext({ cert, key, ca, minVersion: "TLSv1.2" }),
    signal: never,
    maxMessageBytes: 4096,
    ...options,
  });
}

async function end(connection: MessageConnection): Promise<void> {
  connection.destroy(ended);
  await connection.closed;
}

/** Asserts on the error's code and message, and that it names the server. */
function failure(code: string, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  };
}

describe("a dial", () => {
  test("agrees on TLS 1.3 with a server that has it, and exchanges a message", async () => {
    await using server = await startEchoServer();
    const connection = await open(server.address);
    assert.equal(connection.agreed, "TLSv1.3");
    assert.equal(markOf(await connection.exchange(messageOf(7)).reply), 7);
    await end(connection);
  });

  test("agrees on TLS 1.2 with a server that has no newer", async () => {
    await using server = await startEchoServer({ tls: { maxVersion: "TLSv1.2" } });
    const connection = await open(server.address);
    assert.equal(connection.agreed, "TLSv1.2");
    await end(connection);
  });

  test("refuses a server that has nothing newer than TLS 1.1", async () => {
    await using server = await startEchoServer({
      tls: { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" },
    });
    await assert.rejects(open(server.address), failure("TLS", /127\.0\.0\.1:\d+ .*TLS/));
  });

  test("reaches a server on IPv6 by its address in brackets", async (t) => {
    const server = await startEchoServer({ host: "::1" }).catch(() => undefined);
    if (server === undefined) return t.skip("this machine has no IPv6 loopback");
    const connection = await open(`[::1]:${server.port}`);
    assert.equal(markOf(await connection.exchange(messageOf(6)).reply), 6);
    await end(connection);
    return server.close();
  });

  test("checks a host by name, where it is given by name", async () => {
    await using server = await startEchoServer({ certificate: { dnsNames: ["localhost"], ipAddresses: [] } });
    const connection = await open(`localhost:${server.port}`);
    await end(connection);
  });

  test("says what hosts a certificate is for, where the server's is not among them", async () => {
    await using server = await startEchoServer({
      certificate: { dnsNames: ["kms.example.com"], ipAddresses: [] },
    });
    await assert.rejects(
      open(server.address),
      failure("TLS", /certificate of 127\.0\.0\.1:\d+ is for .*kms\.example\.com/),
    );
  });

  for (const [what, certificate, message] of [
    [
      "names it in its Common Name only",
      { dnsNames: [], ipAddresses: [] },
      /has no Subject Alternative Name: a Common Name alone is not accepted$/,
    ],
    [
      "names it in its Common Name, beside an address",
      { dnsNames: [], ipAddresses: ["127.0.0.1"] },
      /is for IP 127\.0\.0\.1, not for this host$/,
    ],
    [
      "has a wildcard for a part of a label",
      { dnsNames: ["local*"], ipAddresses: [] },
      /is for local\*, not for this host$/,
    ],
  ] as const)
    test(`refuses a server whose certificate ${what}`, async () => {
      await using server = await startEchoServer({
        certificate: { commonName: "localhost", ...certificate },
      });
      await assert.rejects(open(`localhost:${server.port}`), failure("TLS", message));
    });

  test("says that a server's authority is not the trusted one", async () => {
    await using server = await startEchoServer({ issuer: await createAuthority({ name: "another" }) });
    await assert.rejects(open(server.address), failure("TLS", /does not chain to a trusted authority.*--ca/));
  });

  test("says that a server's certificate has expired", async () => {
    await using server = await startEchoServer({ certificate: { notAfter: new Date(Date.now() - 60_000) } });
    await assert.rejects(open(server.address), failure("TLS", /certificate of .* has expired/));
  });

  test("says that nothing listens", async () => {
    const server = await startEchoServer();
    await server.close();
    await assert.rejects(open(server.address), failure("CONNECT", /nothing listens on 127\.0\.0\.1:\d+/));
  });

  test("says that a host name is not known", async () => {
    await assert.rejects(open("no-such-host.invalid:5696"), failure("CONNECT", /no-such-host\.invalid:5696/));
  });

  test("says that a server speaks no TLS", async () => {
    const server = createTcpServer((socket: Socket) => {
      socket.on("error", () => {}).end("220 not TLS at all, whatever the port\r\n");
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    await assert.rejects(open(`127.0.0.1:${port}`), failure("TLS", /does not speak TLS/));
    server.close();
  });

  test("ends with its signal, and leaves no socket behind", async () => {
    const sockets = new Set<Socket>();
    const server = createTcpServer((socket: Socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket)).on("error", () => {});
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const dial = open(`127.0.0.1:${port}`, { signal: AbortSignal.timeout(50) });
    const keepAlive = setTimeout(() => {}, 5000);
    await assert.rejects(dial, (error) => error instanceof TimeoutError && error.phase === "connect");
    clearTimeout(keepAlive);
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  });
});

describe("a client that the server refuses", () => {
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const)
    test(`hears that its certificate may be why, over ${maxVersion}`, async () => {
      await using server = await startEchoServer({ tls: { maxVersion } });
      const stranger = await clientMaterial({}, await createAuthority({ name: "stranger" }));
      await assert.rejects(
        open(server.address, { tls: stranger }).then((connection) => connection.exchange(messageOf()).reply),
        failure(
          maxVersion === "TLSv1.2" ? "CONNECT" : "CLOSED",
          /127\.0\.0\.1:\d+ closed the connection .*client certificate/,
        ),
      );
    });
});

describe("a TLS session", () => {
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const)
    test(`is resumed by the next dial, over ${maxVersion}`, async () => {
      await using server = await startEchoServer({ tls: { maxVersion } });
      const sessions: Buffer[] = [];
      const first = await open(server.address, { onSession: (session) => sessions.push(session) });
      await first.exchange(messageOf()).reply;
      await end(first);
      const second = await open(server.address, { session: sessions.at(-1) });
      assert.equal(second.agreed, `${maxVersion} resumed`);
      assert.equal(markOf(await second.exchange(messageOf(3)).reply), 3);
      await end(second);
    });
});

describe("an exchange", () => {
  test("takes a reply in whatever pieces it comes", async () => {
    await using server = await startEchoServer({
      onMessage: (message, socket) => {
        let at = 0;
        const piece = (): void => {
          socket.write(message.subarray(at, at + 5));
          at += 5;
          if (at < message.length) setImmediate(piece);
        };
        piece();
      },
    });
    const connection = await open(server.address);
    assert.deepEqual(new Uint8Array(await connection.exchange(messageOf(9, 104)).reply), messageOf(9, 104));
    await end(connection);
  });

  test("that is aborted fails with the reason, and closes the connection", async () => {
    await using server = await startEchoServer({ onMessage: () => {} });
    const connection = await open(server.address);
    const late = new TimeoutError("response", "no reply in time");
    const { reply, abort } = connection.exchange(messageOf());
    setTimeout(() => abort(late), 30);
    await assert.rejects(reply, late);
    assert.equal(connection.isOpen, false);
    assert.equal(await connection.closed, late);
  });

  test("that is aborted after its reply does nothing to the connection", async () => {
    await using server = await startEchoServer();
    const connection = await open(server.address);
    const { reply, abort } = connection.exchange(messageOf(1));
    assert.equal(markOf(await reply), 1);
    const next = connection.exchange(messageOf(2));
    abort(ended);
    assert.equal(markOf(await next.reply), 2);
    assert.equal(connection.isOpen, true);
    await end(connection);
  });

  test("is refused while another is under way, which it does not disturb", async () => {
    await using server = await startEchoServer();
    const connection = await open(server.address);
    const first = connection.exchange(messageOf(1)).reply;
    await assert.rejects(connection.exchange(messageOf(2)).reply, { code: "INTERNAL" });
    assert.equal(markOf(await first), 1);
    await end(connection);
  });

  test("fails as sent where the connection is lost, and every later one fails too", async () => {
    await using server = await startEchoServer({
      onMessage: (message, socket) => (markOf(message) === 1 ? socket.write(message) : socket.destroy()),
    });
    const connection = await open(server.address);
    await connection.exchange(messageOf(1)).reply;
    await assert.rejects(connection.exchange(messageOf(2)).reply, (error) => {
      assert.ok(error instanceof NetworkError);
      assert.equal(error.code, "CLOSED");
      assert.equal(error.sent, true);
      assert.equal(error.retryable, true);
      assert.doesNotMatch(error.message, /client certificate/);
      return true;
    });
    await assert.rejects(connection.exchange(messageOf(3)).reply, { code: "CLOSED" });
    await connection.closed;
  });

  const garbage = { "no TTLV at all": "TTLV_TAG", "too long a message": "KMIP_FRAME_TOO_LARGE" } as const;
  for (const [what, code] of Object.entries(garbage))
    test(`that is answered with ${what} fails with ${code}, and the connection is closed`, async () => {
      await using server = await startEchoServer({
        onMessage: (_, socket) => socket.write(code === "TTLV_TAG" ? new Uint8Array(64) : messageOf(1, 8192)),
      });
      const connection = await open(server.address);
      await assert.rejects(connection.exchange(messageOf()).reply, { code });
      assert.equal(connection.isOpen, false);
      await connection.closed;
    });

  test("that is answered twice gives the first reply, and the connection is closed", async () => {
    await using server = await startEchoServer({
      onMessage: (message, socket) => socket.write(Buffer.concat([message, message])),
    });
    const connection = await open(server.address);
    assert.equal(markOf(await connection.exchange(messageOf(4)).reply), 4);
    assert.equal((await connection.closed).code, "KMIP_UNEXPECTED");
  });
});

describe("an idle connection", () => {
  test("is closed when bytes come that nobody had asked for", async () => {
    await using server = await startEchoServer({
      onMessage: (message, socket) => {
        socket.write(message);
        setImmediate(() => socket.write(messageOf()));
      },
    });
    const connection = await open(server.address);
    await connection.exchange(messageOf()).reply;
    assert.equal((await connection.closed).code, "KMIP_UNEXPECTED");
    assert.equal(connection.isOpen, false);
  });

  test("is found to be closed when the server hangs up", async () => {
    await using server = await startEchoServer({
      onMessage: (message, socket) => socket.end(message),
    });
    const connection = await open(server.address);
    assert.equal(markOf(await connection.exchange(messageOf(5)).reply), 5);
    assert.match((await connection.closed).message, /closed the idle connection/);
  });

  test("fails what is under way with the reason of its end", async () => {
    await using server = await startEchoServer({ onMessage: () => connection.destroy(ended) });
    const connection: MessageConnection = await open(server.address);
    await assert.rejects(connection.exchange(messageOf()).reply, ended);
    assert.equal(await connection.closed, ended);
  });
});

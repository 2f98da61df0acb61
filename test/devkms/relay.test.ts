import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { type TestContext, test } from "node:test";
import { type Relay, type RelayOptions, startRelay } from "./relay.ts";

/** An echo server with a relay before it; both end with the test. */
async function echoBehindRelay(t: TestContext, options?: RelayOptions): Promise<Relay> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy()).on("close", () => sockets.delete(socket));
    socket.pipe(socket);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const relay = await startRelay(`127.0.0.1:${(server.address() as net.AddressInfo).port}`, options);
  t.after(async () => {
    await relay.close();
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
    assert.equal(relay.connections(), 0);
  });
  return relay;
}

async function connect(t: TestContext, relay: Relay): Promise<net.Socket> {
  const socket = net.connect({ port: relay.port, host: "127.0.0.1", noDelay: true });
  socket.on("error", () => socket.destroy());
  t.after(() => socket.destroy());
  await once(socket, "connect");
  return socket;
}

/** Resolves when the socket has closed, with an error or without. */
function closing(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.on("error", () => undefined).once("close", () => resolve());
  });
}

async function echo(socket: net.Socket, text: string): Promise<string> {
  socket.write(text);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  return chunk.toString();
}

test("a relay carries bytes both ways, and the end of the stream after them", async (t) => {
  const relay = await echoBehindRelay(t);
  const socket = await connect(t, relay);
  const sent = randomBytes(3 << 20);
  const got: Buffer[] = [];
  socket.on("data", (chunk) => got.push(chunk as Buffer));
  socket.end(sent);
  await once(socket, "end");
  assert.ok(Buffer.concat(got).equals(sent));
});

test("a relay delays each way, and keeps the order under load", async (t) => {
  const relay = await echoBehindRelay(t, { delayMs: 10 });
  const socket = await connect(t, relay);
  const begin = performance.now();
  assert.equal(await echo(socket, "a"), "a");
  assert.ok(performance.now() - begin >= 18, "both ways were delayed");
  const sent = Array.from({ length: 200 }, (_, index) => `${index};`);
  let got = "";
  const done = new Promise<void>((resolve) => {
    socket.on("data", (chunk) => {
      got += String(chunk);
      if (got.length === sent.join("").length) resolve();
    });
  });
  for (const each of sent) socket.write(each);
  await done;
  assert.equal(got, sent.join(""));
});

test("cutting resets every connection, and new ones go through", async (t) => {
  const relay = await echoBehindRelay(t);
  const sockets = await Promise.all([connect(t, relay), connect(t, relay)]);
  await Promise.all(sockets.map((socket) => echo(socket, "x")));
  const closed = sockets.map((socket) => closing(socket));
  assert.equal(relay.cut(), 2);
  await Promise.all(closed);
  assert.equal(await echo(await connect(t, relay), "y"), "y");
});

test("a connection that hangs swallows what comes and is not closed, while others and new ones go on", async (t) => {
  const relay = await echoBehindRelay(t);
  const [hung, other] = [await connect(t, relay), await connect(t, relay)];
  await Promise.all([echo(hung, "x"), echo(other, "x")]);
  relay.hang(1);
  hung.on("data", () => assert.fail("answered"));
  hung.write("lost");
  assert.equal(await echo(other, "y"), "y");
  assert.equal(await echo(await connect(t, relay), "z"), "z");
  assert.equal(hung.readyState, "open");
});

test("a relay that hangs altogether accepts and swallows, until it is told to resume", async (t) => {
  const relay = await echoBehindRelay(t);
  relay.hang();
  const hung = await connect(t, relay);
  hung.on("data", () => assert.fail("answered"));
  hung.write("lost");
  relay.resume();
  assert.equal(await echo(await connect(t, relay), "y"), "y");
  assert.equal(hung.readyState, "open");
});

test("a relay that stopped refuses connections, and started again has the same port", async (t) => {
  const relay = await echoBehindRelay(t);
  const before = await connect(t, relay);
  await echo(before, "x");
  const closed = closing(before);
  await relay.stop();
  await closed;
  const [error] = await once(net.connect(relay.port, "127.0.0.1"), "error");
  assert.equal((error as NodeJS.ErrnoException).code, "ECONNREFUSED");
  await relay.start();
  assert.equal(await echo(await connect(t, relay), "y"), "y");
  assert.equal(relay.accepted(), 2);
});

test("a target that refuses closes the connection before it", async (t) => {
  const relay = await startRelay("127.0.0.1:1");
  t.after(() => relay.close());
  await closing(net.connect(relay.port, "127.0.0.1"));
});

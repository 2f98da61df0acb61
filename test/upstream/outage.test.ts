/** Outages: a server that is away is tried again inside each caller's time, and a hopeless one is told at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NetworkError, ProviderError, TimeoutError } from "../../src/errors.ts";
import { startRelay } from "../devkms/relay.ts";
import { createAuthority } from "../devkms/certificates.ts";
import { startSilentServer } from "../support/silent-server.ts";
import {
  clientMaterial,
  echo,
  eventually,
  holdReplies,
  messageOf,
  startEchoServer,
} from "../kmip/echo-server.ts";
import { connectTo, hold, send, sendUntil } from "./harness.ts";

test("A caller waits out a server that starts again inside its time", async () => {
  const before = await startEchoServer();
  await before.close();
  await using upstream = connectTo([before]);
  const waiting = Promise.all([1, 2, 3].map((mark) => send(upstream, mark)));
  await eventually(() => upstream.events.some((event) => event.type === "connection"), "a dial has failed");
  await using server = await startEchoServer({ port: before.port });
  assert.deepEqual(await waiting, [1, 2, 3]);
  assert.ok(server.messages() > 3);
});

test("A caller whose time ends while nothing listens hears why there is no connection", async () => {
  const server = await startEchoServer();
  await server.close();
  await using upstream = connectTo([server]);
  await assert.rejects(send(upstream, 1, 150), (error) => {
    assert.ok(error instanceof NetworkError);
    assert.equal(error.code, "CONNECT");
    assert.match(error.message, /^nothing listens on 127\.0\.0\.1:\d+/);
    return true;
  });
});

test("A caller whose time ends before a server that is silent hears of the time, after many dials too", async () => {
  await using server = await startEchoServer({ onMessage: () => {} });
  await using upstream = connectTo([server], { dialTimeoutMs: 20 });
  await assert.rejects(send(upstream, 1, 200), (error) => {
    assert.ok(error instanceof TimeoutError);
    assert.equal(error.phase, "connect");
    // Told by the last dial that failed, or by the one under way, whichever has taken longer: both in these words.
    assert.match(error.message, /127\.0\.0\.1:\d+ does not answer \(no reply to the first message\)$/);
    return true;
  });
  assert.ok(server.accepted() > 1);
});

test("A dial that hangs in TLS is told as that, to a caller who leaves before it fails and when it has failed", async (t) => {
  const server = await startSilentServer(t);
  await using upstream = connectTo([server], { dialTimeoutMs: 120, headStartMs: 10_000 });
  const hung = /it takes TCP and does not end the TLS handshake\)$/;
  await assert.rejects(send(upstream, 1, 60), (error: Error) => {
    assert.match(error.message, /^the time was over while connecting to 127\.0\.0\.1:\d+ \(/);
    assert.match(error.message, hung);
    return true;
  });
  await assert.rejects(send(upstream, 1, 200), (error: Error) => {
    assert.match(error.message, /127\.0\.0\.1:\d+ does not answer \(/);
    assert.match(error.message, hung);
    return true;
  });
});

test("A caller who leaves while nothing listens has left, and is told nothing else", async () => {
  const server = await startEchoServer();
  await server.close();
  await using upstream = connectTo([server]);
  const caller = new AbortController();
  const turn = sendUntil(upstream, 1, caller.signal);
  setTimeout(() => caller.abort(), 60);
  await assert.rejects(turn, { code: "CANCELED" });
});

test("While a server is away it is dialled one at a time, with a growing pause", async () => {
  const server = await startEchoServer();
  await server.close();
  await using upstream = connectTo([server]);
  await Promise.allSettled(Array.from({ length: 20 }, () => send(upstream, 1, 500)));
  const failed = upstream.events.filter((event) => event.type === "connection" && event.change === "failed");
  assert.ok(failed.length >= 2 && failed.length <= 10, `${failed.length} dials in 500 ms`);
});

test("Where the server's certificate is not to be trusted the callers are told long before their time ends", async () => {
  await using server = await startEchoServer({ issuer: await createAuthority({ name: "another" }) });
  await using upstream = connectTo([server]);
  const results = await Promise.allSettled([1, 2, 3].map((mark) => send(upstream, mark, 30_000)));
  for (const result of results) {
    assert.equal(result.status, "rejected");
    assert.equal(result.reason.code, "TLS");
    assert.match(result.reason.message, /--ca/);
  }
});

test("A server that takes no more connections sends nobody away from those that it has taken", async () => {
  await using server = await startEchoServer();
  server.onMessage = (message, socket) => setTimeout(() => echo(message, socket), 30);
  let taken = 0;
  await using upstream = connectTo([server], {
    prepare: async () => {
      taken += 1;
      if (taken > 1) throw new ProviderError("KMIP_RESULT", "too many sessions");
      return "echo";
    },
  });
  const marks = Array.from({ length: 24 }, (_, mark) => mark);
  assert.deepEqual(await Promise.all(marks.map((mark) => send(upstream, mark))), marks);
  assert.ok(taken > 4, `${taken} connections asked for`);
});

test("A dial that hangs is joined by others, so that a server that has come to itself is found in time", async (t) => {
  await using server = await startEchoServer();
  const relay = await startRelay(server.address);
  t.after(() => relay.close());
  relay.hang();
  await using upstream = connectTo([relay], { headStartMs: 30 });
  const waiting = send(upstream, 4);
  await eventually(() => relay.accepted() === 3, "three dials hang");
  relay.resume();
  assert.equal(await waiting, 4);
});

test("Dials that hang and take every place make room for others, but for the first", async (t) => {
  await using server = await startEchoServer();
  const relay = await startRelay(server.address);
  t.after(() => relay.close());
  relay.hang();
  await using upstream = connectTo([relay], { headStartMs: 50, maxConnections: 3, dialTimeoutMs: 60_000 });
  const waiting = send(upstream, 4, 20_000);
  await eventually(() => relay.accepted() === 6, "three dials were replaced", 15_000);
  relay.resume();
  assert.equal(await waiting, 4);
});

test("An attempt that takes too long fails as a connection, not as the caller's time", async () => {
  await using server = await startEchoServer({ onMessage: () => {} });
  await using upstream = connectTo([server], { dialTimeoutMs: 40 });
  await assert.rejects(send(upstream, 1, 200), (error) => {
    assert.ok(error instanceof TimeoutError);
    assert.match(error.message, /does not answer/);
    return true;
  });
});

test("A lost connection fails only what it carried", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server], { maxConnections: 2 });
  const [first, second] = await Promise.all([hold(upstream), hold(upstream)]);
  const held = holdReplies();
  server.onMessage = (message, socket) => {
    if (message.length === 64) socket.destroy();
    else held.onMessage(message, socket);
  };
  const staying = second.connection.exchange(messageOf(2, 72)).reply;
  await assert.rejects(first.connection.exchange(messageOf(1, 64)).reply, { code: "CLOSED" });
  held.release();
  assert.equal((await staying).length, 72);
  await second.release();
});

test("One refusal after an outage is no reason to send anybody away", async () => {
  let dials = 0;
  await using server = await startEchoServer();
  await using upstream = connectTo([server], {
    prepare: async () => {
      dials += 1;
      if (dials <= 3) throw new ProviderError("CONNECT", "nothing listens");
      if (dials === 4) throw new ProviderError("TLS", "an alert of a server that is only starting");
      return "echo";
    },
  });
  assert.equal(await send(upstream, 1), 1);
  assert.equal(dials, 5);
});

test("A new TLS material ends the pause after a failure at once", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server]);
  upstream.setTlsMaterial(await clientMaterial({}, undefined, await createAuthority({ name: "another" })));
  await assert.rejects(send(upstream, 1), { code: "TLS" });
  upstream.setTlsMaterial(await clientMaterial());
  assert.equal(await send(upstream, 2), 2);
});

test("Dials that hang are joined by no others once nobody waits for them", async () => {
  await using server = await startEchoServer({ onMessage: () => {} });
  await using upstream = connectTo([server], { headStartMs: 10 });
  await assert.rejects(send(upstream, 1, 60), { code: "TIMEOUT" });
  const dials = server.accepted();
  assert.ok(dials > 1);
  for (let turns = 0; turns < 5; turns += 1) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(server.accepted() <= dials + 1, `${server.accepted() - dials} dials that nobody waited for`);
});

/** The end: everything that waits or is under way fails with one reason, and no socket is left. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually, startEchoServer } from "../kmip/echo-server.ts";
import { connectTo, hold, material, send, within } from "./harness.ts";

test("Closing ends idle connections, those in use, retired ones, and waiting calls", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server], { maxConnections: 3 });
  const held = await Promise.all([hold(upstream), hold(upstream), hold(upstream)]);
  await held[2].release();
  server.onMessage = () => {};
  const underWay = [1, 2].map((mark) => send(upstream, mark));
  const waiting = hold(upstream);
  upstream.setTlsMaterial(material);
  const all = Promise.allSettled([...underWay, waiting]);
  const closing = upstream.close();
  for (const result of await all) {
    assert.equal(result.status, "rejected");
    assert.equal(result.reason.code, "SHUTTING_DOWN");
  }
  await closing;
  assert.ok(held.every(({ connection }) => !connection.isOpen));
  await eventually(() => server.connections() === 0, "the server sees no connection");
});

test("Closing calls off the dials that are under way", async () => {
  await using server = await startEchoServer({ onMessage: () => {} });
  await using upstream = connectTo([server]);
  const waiting = hold(upstream, within(5000));
  await eventually(() => server.messages() === 1, "the dial is under way");
  const failed = assert.rejects(waiting, { code: "SHUTTING_DOWN" });
  await upstream.close();
  await failed;
  await eventually(() => server.connections() === 0, "the dial's socket is closed");
  assert.equal(server.accepted(), 1);
});

test("After the end every call fails, and a second close does nothing", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server]);
  await send(upstream, 1);
  await upstream.close();
  await assert.rejects(hold(upstream, within(1000)), { code: "SHUTTING_DOWN" });
  await upstream.close();
  assert.deepEqual(upstream.counts(), { idle: 0, busy: 0, connecting: 0 });
});

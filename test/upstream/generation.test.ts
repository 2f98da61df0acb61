/** New TLS material: connections of the old one end, without a call that fails. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientMaterial, echo, eventually, holdReplies, startEchoServer } from "../kmip/echo-server.ts";
import { connectTo, send, startLoad } from "./harness.ts";

test("New material closes idle connections, and the next is made with it", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server]);
  await send(upstream, 1);
  upstream.setTlsMaterial(await clientMaterial({ commonName: "renewed" }));
  assert.equal(await send(upstream, 2), 2);
  await eventually(() => server.connections() === 1, "the old connection is closed");
  assert.deepEqual(server.clients(), ["renewed"]);
});

test("A connection in use finishes what it carries, and is closed then", async () => {
  const held = holdReplies();
  await using server = await startEchoServer();
  await using upstream = connectTo([server], { maxConnections: 2 });
  await send(upstream, 0);
  server.onMessage = held.onMessage;
  const underWay = send(upstream, 1);
  await eventually(() => server.messages() === 3, "the message has arrived");
  server.onMessage = echo;
  upstream.setTlsMaterial(await clientMaterial({ commonName: "renewed" }));
  assert.equal(await send(upstream, 2), 2);
  held.release();
  assert.equal(await underWay, 1);
  await eventually(() => server.clients().join() === "renewed", "only the new connection is left");
});

test("No exchange fails while material is exchanged under load", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server]);
  const materials = await Promise.all([1, 2].map((nth) => clientMaterial({ commonName: `client ${nth}` })));
  const load = startLoad(upstream, 16);
  for (let round = 0; round < 10; round += 1) {
    const next = materials[round % 2];
    assert.ok(next);
    upstream.setTlsMaterial(next);
    await send(upstream, 100);
  }
  await load.end();
});

test("A TLS session of one generation is not resumed by the next", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server]);
  await send(upstream, 1);
  server.cut();
  await eventually(() => upstream.counts().idle === 0, "the connection is gone");
  await send(upstream, 2);
  upstream.setTlsMaterial(await clientMaterial({ commonName: "renewed" }));
  await send(upstream, 3);
  const agreed = upstream.events.flatMap((event) =>
    event.type === "connection" && event.change === "opened" ? [event.message] : [],
  );
  assert.deepEqual(agreed, ["TLSv1.3", "TLSv1.3 resumed", "TLSv1.3"]);
});

test("Material that can't be used is refused, and the old one stays", async () => {
  await using server = await startEchoServer();
  await using upstream = connectTo([server]);
  await send(upstream, 1);
  const good = await clientMaterial();
  assert.throws(
    () => upstream.setTlsMaterial({ ...good, cert: good.cert, key: Buffer.from("no key"), ca: good.ca }),
    {
      code: "TLS_FILES",
    },
  );
  assert.equal(await send(upstream, 2), 2);
  assert.equal(server.accepted(), 1);
});

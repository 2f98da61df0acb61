/** Generations: new TLS material retires what was made with the old, without a failed exchange. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientMaterial, echo, eventually, holdReplies, messageOf, startEchoServer } from "../echo-server.ts";
import { poolBefore, send, startLoad, within } from "./harness.ts";

test("New material closes idle connections, and the next is made with it", async () => {
  await using server = await startEchoServer();
  await using pool = poolBefore([server]);
  await send(pool, 1);
  pool.setTlsMaterial(await clientMaterial({ commonName: "renewed" }));
  assert.equal(await send(pool, 2), 2);
  await eventually(() => server.connections() === 1, "the old connection is closed");
  assert.deepEqual(server.clients(), ["renewed"]);
});

test("A connection in use finishes what it carries, and is closed when it comes back", async () => {
  const held = holdReplies();
  await using server = await startEchoServer();
  await using pool = poolBefore([server], { maxConnections: 1 });
  const lease = await pool.checkOut(within(3000));
  server.onMessage = held.onMessage;
  const underWay = lease.connection.exchange(messageOf(1), within(3000));
  await eventually(() => server.messages() === 2, "the message has arrived");
  server.onMessage = echo;
  pool.setTlsMaterial(await clientMaterial({ commonName: "renewed" }));
  assert.equal(await send(pool, 2), 2);
  held.release();
  await underWay;
  lease.release();
  await lease.connection.closed;
  await eventually(() => server.clients().join() === "renewed", "only the new connection is left");
});

test("No exchange fails while material is exchanged under load", async () => {
  await using server = await startEchoServer();
  await using pool = poolBefore([server]);
  const materials = await Promise.all([1, 2].map((nth) => clientMaterial({ commonName: `client ${nth}` })));
  const load = startLoad(pool, 16);
  for (let round = 0; round < 10; round += 1) {
    const next = materials[round % 2];
    assert.ok(next);
    pool.setTlsMaterial(next);
    await send(pool, 100);
  }
  await load.end();
});

test("A TLS session of one generation is not resumed by the next", async () => {
  await using server = await startEchoServer();
  await using pool = poolBefore([server]);
  await send(pool, 1);
  server.cut();
  await eventually(() => pool.counts().idle === 0, "the connection is gone");
  await send(pool, 2);
  pool.setTlsMaterial(await clientMaterial({ commonName: "renewed" }));
  await send(pool, 3);
  const agreed = pool.events.flatMap((event) =>
    event.type === "connection" && event.change === "opened" ? [event.message] : [],
  );
  assert.deepEqual(agreed, ["TLSv1.3, echo", "TLSv1.3 resumed, echo", "TLSv1.3, echo"]);
});

test("Material that can't be used is refused, and the old one stays", async () => {
  await using server = await startEchoServer();
  await using pool = poolBefore([server]);
  await send(pool, 1);
  const good = await clientMaterial();
  assert.throws(
    () => pool.setTlsMaterial({ ...good, cert: good.cert, key: Buffer.from("no key"), ca: good.ca }),
    {
      code: "TLS_FILES",
    },
  );
  assert.equal(await send(pool, 2), 2);
  assert.equal(server.accepted(), 1);
});

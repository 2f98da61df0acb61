/** A KMS that has too much to do, is only starting, or answers nobody but who asks whether it is there. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import net, { type AddressInfo } from "node:net";
import { test } from "node:test";
import { createRestClient } from "../../src/rest/client.ts";

import { clientMaterial, eventually } from "../kmip/echo-server.ts";
import { seed, startWithKey, watch, within } from "./harness.ts";
import { parseRestAddress } from "../../src/net/address.ts";

const someCall = {
  name: "some",
  method: "POST",
  path: "/api/some",
  body: "{}",
  maxReplyBytes: 1000,
  read: ({ body }: { readonly body: Uint8Array }) => Buffer.from(body).toString(),
} as const;

test("a KMS that does one request at a time gets no more of them for being slow", async (t) => {
  const serviceMs = 50;
  const callers = 30;
  let free = 0;
  let requests = 0;
  const server = createServer((request, response) => {
    request.resume();
    requests += 1;
    free = Math.max(free, performance.now()) + serviceMs;
    setTimeout(() => response.end("{}"), free - performance.now());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = createRestClient({
    servers: [parseRestAddress(`http://127.0.0.1:${port}`, { insecureHttp: true })],
    reachabilityPath: "/",
  });
  t.after(async () => {
    await client.close();
    server.close();
  });
  client.setTlsMaterial(await clientMaterial());
  const calls = Array.from({ length: callers }, () => client.call(someCall, within(3000)));
  for (const reply of await Promise.all(calls)) assert.equal(reply, "{}");
  // The three second chances that there are at first, and those that replies have earned.
  assert.ok(requests <= callers + 3 + callers / 10, `${requests} requests of ${callers} callers`);
});

test("a TLS alert of a server that is only starting costs no call", async (t) => {
  const { kms, keyId } = await startWithKey(t);
  const internalError = Buffer.from([0x15, 3, 3, 0, 2, 2, 80]);
  let connections = 0;
  const front = net.createServer((socket) => {
    socket.on("error", () => {});
    connections += 1;
    if (connections === 1) {
      socket.once("data", () => socket.end(internalError));
      return;
    }
    const kmsSide = net.connect(kms.face.port, "127.0.0.1").on("error", () => {});
    socket.pipe(kmsSide).pipe(socket);
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
  t.after(() => front.close());
  const { port } = front.address() as AddressInfo;
  const { encryptor } = watch(t, kms, {
    key: { id: keyId },
    servers: [parseRestAddress(`https://127.0.0.1:${port}`)],
  });
  await encryptor.encrypt(seed, keyId, within(5_000));
  assert.ok(connections > 1);
});

test("a server that is back each time it is asked, and fails again each time, is returned to less and less", async (t) => {
  const urls = ["https://127.0.0.1:1", "https://127.0.0.1:2"].map((url) => parseRestAddress(url));
  let returns = 0;
  const servers = createServers({
    urls,
    checkMs: 10,
    isReachable: async () => true,
    onChange: ({ endpoint, up, inUse }) => {
      if (!up || !inUse || endpoint !== first.url.name) return;
      returns += 1;
      setImmediate(() => servers.failed(first, "does not answer"));
    },
  });
  t.after(() => servers.close());
  const first = servers.current();
  servers.failed(first, "does not answer");
  const startedAt = performance.now();
  await eventually(() => returns === 5, "five returns");
  // After 10, then at least 20, 40, 80 and 120 ms; a rest that ends just after a try waits for the next.
  const tookMs = performance.now() - startedAt;
  assert.ok(tookMs >= 268, `${tookMs} ms`);
});

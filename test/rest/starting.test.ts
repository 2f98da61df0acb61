/** A KMS that is only starting. */
import assert from "node:assert/strict";
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { test } from "node:test";

import { seed, startWithKey, watch, within } from "./harness.ts";
import { parseRestAddress } from "../../src/net/address.ts";

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

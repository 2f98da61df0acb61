/** The dialer by itself: what it says of failures that no caller met. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createDialer } from "../../../src/kmip/dialer.ts";
import { parseEndpoint } from "../../../src/kmip/endpoint.ts";
import { startEchoServer } from "../echo-server.ts";
import { material, within } from "./harness.ts";

test("A preferred server that can't be returned to is no reason for what happens to callers of the one in use", async () => {
  const away = await startEchoServer();
  await away.close();
  await using second = await startEchoServer();
  const failures: string[] = [];
  const dialer = createDialer({
    endpoints: [away, second].map(({ address }) => parseEndpoint(address)),
    prepare: async () => "echo",
    maxMessageBytes: 4096,
    attemptMs: 3000,
    staggerMs: 300,
    repeatMs: 300,
    recoverMs: 5000,
    onEndpoint: () => {},
    onFailure: (endpoint) => failures.push(endpoint.name),
  });
  dialer.setTlsMaterial(material);
  const { connection } = await dialer.dial(within(3000), () => false);
  assert.equal(connection.endpoint.port, second.port);
  await assert.rejects(dialer.dialPreferred(within(3000)), { code: "CONNECT" });
  assert.deepEqual(failures, [away.address, away.address]);
  assert.equal(dialer.lastFailure, undefined);
  await second.close();
  await connection.closed;
  await dialer.settled();
});

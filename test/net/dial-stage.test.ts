/** What a dial hangs at: DNS, TCP or TLS, each made to hang. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import type { LookupFunction } from "node:net";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { watchDial } from "../../src/net/dial-stage.ts";
import { startSilentServer } from "../support/silent-server.ts";

const silentDns: LookupFunction = () => {};
const loopback: LookupFunction = (_name, _options, done) => {
  setImmediate(done, null, [{ address: "127.0.0.1", family: 4 }]);
};

test("a name that DNS is silent about is told as that", async (t) => {
  const socket = connect({ host: "kms.example.net", port: 1, lookup: silentDns });
  t.after(() => socket.destroy());
  const waitsFor = watchDial(socket, "kms.example.net");
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(waitsFor(), "DNS gives no answer");
});

test("from the answer of DNS on it is TCP, and from the connection on TLS", async (t) => {
  const { port } = await startSilentServer(t);
  const socket = connectTls({ host: "kms.example.net", port, lookup: loopback });
  t.after(() => socket.destroy());
  const waitsFor = watchDial(socket, "kms.example.net");
  await once(socket, "lookup");
  assert.equal(waitsFor(), "no answer to TCP");
  await once(socket, "connect");
  assert.equal(waitsFor(), "it takes TCP and does not end the TLS handshake");
});

test("an address is not looked up", (t) => {
  const socket = connect({ host: "127.0.0.1", port: 1 });
  socket.on("error", () => {});
  t.after(() => socket.destroy());
  assert.equal(watchDial(socket, "127.0.0.1")(), "no answer to TCP");
});

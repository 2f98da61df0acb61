import assert from "node:assert/strict";
import { once } from "node:events";
import type { ClientHttp2Session } from "node:http2";
import { constants } from "node:http2";
import { connect } from "node:net";
import type { TestContext } from "node:test";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { EncryptRequestSchema, KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { grpcClient, startServer } from "../harness.ts";
import type { Harness } from "../harness.ts";
import { frame, openSession, openStream, replyOf, roundTrip } from "../raw-http2.ts";

const { status } = KeyManagementService.method;
const statusRequest = frame(new Uint8Array());
const unsupportedForm = "its content type, HTTP method or encoding is not supported";

/** The server still answers a well-behaved client. */
async function assertServes(t: TestContext, { socketPath }: Harness): Promise<void> {
  const { reply } = await grpcClient(t, `unix://${socketPath}`).call(status, {});
  assert.equal(reply?.healthz, "ok");
}

describe("what kube-apiserver and its gRPC library send is understood", () => {
  for (const authority of [
    "localhost",
    "%2Fvar%2Frun%2Fokms_etcd_plugin.sock",
    "",
    "[::bad",
    "a b",
    "@abstract",
  ]) {
    test(`the authority ${JSON.stringify(authority)}`, async (t) => {
      const it = await startServer(t);
      const stream = openStream(await openSession(t, it.socketPath), "Status", { ":authority": authority });
      const reply = replyOf(stream.end(statusRequest));
      // Node's own HTTP/2 refuses what is no authority at all; that must harm one stream only.
      if (authority === "localhost" || authority.startsWith("%2F")) assert.equal((await reply).status, 0);
      else await reply;
      await assertServes(t, it);
    });
  }

  test("headers that are unknown, an accepted compression and a timeout in microseconds", async (t) => {
    const it = await startServer(t);
    const { reply } = await grpcClient(t, `unix://${it.socketPath}`).call(
      status,
      {},
      { headers: { hasleader: "true", "grpc-accept-encoding": "gzip" }, deadline: Date.now() + 3000 },
    );
    assert.equal(reply?.version, "v2");
    const stream = openStream(await openSession(t, it.socketPath), "Status", { "grpc-timeout": "2999876u" });
    assert.equal((await replyOf(stream.end(statusRequest))).status, 0);
  });

  test("PING, WINDOW_UPDATE and SETTINGS between requests", async (t) => {
    const it = await startServer(t);
    const session = await openSession(t, it.socketPath);
    await roundTrip(session);
    session.setLocalWindowSize(1 << 20);
    session.settings({ initialWindowSize: 1 << 20 });
    assert.equal((await replyOf(openStream(session, "Status").end(statusRequest))).status, 0);
  });

  test("a GOAWAY with a request in flight, which is still answered", async (t) => {
    const it = await startServer(t, { prepare: (encryptor) => (encryptor.delayMs = 30) });
    const session = await openSession(t, it.socketPath);
    const reply = replyOf(openStream(session, "Status").end(statusRequest));
    await roundTrip(session);
    session.close();
    assert.equal((await reply).status, 0);
  });
});

describe("what no good client sends does no harm", () => {
  for (const [what, bytes] of [
    ["garbage for a preface", Buffer.from("\0\u0001\u0002garbage".repeat(50))],
    ["HTTP/1.1", Buffer.from("POST /v2.KeyManagementService/Status HTTP/1.1\r\nHost: localhost\r\n\r\n")],
    ["TLS", Buffer.from("1603010200010001fc0303", "hex")],
    [
      "a preface and then a frame of another length than it says",
      Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00", "latin1"),
    ],
  ] as const) {
    test(`${what} ends that connection alone, and is counted`, async (t) => {
      const it = await startServer(t);
      const client = connect({ path: it.socketPath });
      client.on("error", () => undefined).resume();
      client.write(bytes);
      await once(client, "close");
      await assertServes(t, it);
      assert.match(await it.metrics.render(), /rejected_total\{[^}]*reason="session"[^}]*\} [1-9]/);
    });
  }

  test("connections that say nothing are closed after 10 s; one that has spoken may be idle", async (t) => {
    const it = await startServer(t);
    await assertServes(t, it);
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const idle = await openSession(t, it.socketPath);
    await roundTrip(idle);
    const clients = Array.from({ length: 50 }, () => connect({ path: it.socketPath }));
    t.after(() => {
      for (const client of clients) client.destroy();
    });
    await Promise.all(clients.map((client) => once(client, "connect")));
    while (it.server.connections() < clients.length + 2) await new Promise(setImmediate);
    t.mock.timers.tick(9_999);
    await roundTrip(idle);
    assert.equal(it.server.connections(), clients.length + 2);
    const closed = clients.map((client) => once(client.resume(), "close"));
    t.mock.timers.tick(1);
    await Promise.all(closed);
    await roundTrip(idle);
    assert.equal((await replyOf(openStream(idle, "Status").end(statusRequest))).status, 0);
    assert.equal(it.server.connections(), 2);
  });

  for (const [what, body, expected] of [
    ["no message at all", Buffer.alloc(0), 12],
    ["half a frame", frame(Buffer.alloc(10), 0, 20), 3],
    ["a message of 64 KiB and one byte", frame(Buffer.alloc(64 * 1024 + 1)), 8],
    ["a frame that says 4 GiB", frame(Buffer.alloc(10), 0, 0xff_ff_ff_ff), 8],
    ["bytes that are not protobuf", frame(Buffer.from("ffffffffffffffffff", "hex")), 13],
    ["two messages", Buffer.concat([statusRequest, statusRequest]), 12],
  ] as const) {
    test(`${what} gets an error of its own, and the next call works`, async (t) => {
      const it = await startServer(t);
      const session = await openSession(t, it.socketPath);
      assert.equal((await replyOf(openStream(session, "Encrypt").end(body))).status, expected);
      assert.equal((await replyOf(openStream(session, "Status").end(statusRequest))).status, 0);
    });
  }

  test("a compressed message is refused before it is decompressed", async (t) => {
    const it = await startServer(t);
    const bomb = gzipSync(Buffer.alloc(10 << 20));
    const stream = openStream(await openSession(t, it.socketPath), "Encrypt", { "grpc-encoding": "gzip" });
    const reply = await replyOf(stream.end(frame(bomb, 1)));
    assert.deepEqual(
      [reply.status, reply.message],
      [12, "compressed messages are not accepted: send them uncompressed"],
    );
    const unannounced = openStream(await openSession(t, it.socketPath), "Encrypt");
    assert.notEqual((await replyOf(unannounced.end(frame(bomb, 1)))).status, 0);
    await assertServes(t, it);
  });

  for (const [what, headers, httpStatus, grpcStatus] of [
    ["another path", { ":path": "/nothing/here" }, 200, 12],
    ["another path without gRPC", { ":path": "/", "content-type": "text/plain" }, 404, undefined],
    ["another media type", { "content-type": "text/html" }, 415, undefined],
    ["another HTTP method", { ":method": "PUT" }, 405, undefined],
    ["a timeout that is none", { "grpc-timeout": "soon" }, 200, 3],
  ] as const) {
    test(`${what} is refused`, async (t) => {
      const it = await startServer(t);
      const stream = openStream(await openSession(t, it.socketPath), "Status", headers);
      const reply = await replyOf(stream.end(statusRequest));
      assert.deepEqual([reply.httpStatus, reply.status], [httpStatus, grpcStatus]);
    });
  }

  for (const [what, headers, body, reason] of [
    ["compressed", { "grpc-encoding": "gzip" }, statusRequest, "compressed messages"],
    ["of another media type", { "content-type": "text/html" }, statusRequest, unsupportedForm],
    ["of another HTTP method", { ":method": "PUT" }, statusRequest, unsupportedForm],
    ["too long", {}, frame(Buffer.alloc(70_000)), "longer than 65536 bytes"],
    ["malformed", {}, frame(Buffer.of(0xff)), "malformed"],
  ] as const)
    test(`the log says that a request was refused for being ${what}`, async (t) => {
      const it = await startServer(t);
      const stream = openStream(await openSession(t, it.socketPath), "Status", headers);
      await replyOf(stream.end(body));
      const { error } = await it.logger.waitFor((line) => line.message === "call failed");
      assert.equal(error, `the request was refused before it was a call: ${reason}`);
    });

  test("headers beyond 16 KiB are refused", async (t) => {
    const it = await startServer(t);
    const session = await openSession(t, it.socketPath);
    // The limit holds once the client has acknowledged the server's SETTINGS.
    await roundTrip(session);
    const stream = openStream(session, "Status", { padding: "x".repeat(40_000) });
    assert.notEqual((await replyOf(stream.end(statusRequest))).status, 0);
    await assertServes(t, it);
  });

  test("calls beyond 2048 open ones are refused by their headers alone, and accepted when there is room", async (t) => {
    const it = await startServer(t);
    // Of so many sessions none has more than its share.
    const sessions = await Promise.all(Array.from({ length: 128 }, () => openSession(t, it.socketPath)));
    for (const session of sessions) {
      await roundTrip(session);
      for (let index = 0; index < 16; index += 1) openStream(session, "Encrypt");
      await roundTrip(session);
    }
    const another = await openSession(t, it.socketPath);
    const refused = await replyOf(openStream(another, "Encrypt").end(statusRequest));
    assert.deepEqual(
      [refused.httpStatus, refused.status, refused.message],
      [200, 8, "too many calls at once [OVERLOADED]"],
    );
    assert.match(await it.metrics.render(), /rejected_total\{[^}]*reason="overloaded"[^}]*\} 1/);
    assert.equal(
      (await replyOf(openStream(another, "Status").end(statusRequest))).status,
      0,
      "Status has slots of its own",
    );
    sessions[0]?.destroy();
    while (it.server.connections() > sessions.length) await new Promise(setImmediate);
    const accepted = await replyOf(openStream(another, "Encrypt").end(statusRequest));
    assert.notEqual(accepted.status, 8);
  });

  for (const [what, leave] of [
    ["does not end", (session: ClientHttp2Session) => openStream(session, "Encrypt")],
    ["does not read", (session: ClientHttp2Session) => openStream(session, "Status").end(statusRequest)],
  ] as const)
    test(`a client that leaves thousands of calls that it ${what} keeps nobody out`, async (t) => {
      const it = await startServer(t);
      const kept = await openSession(t, it.socketPath);
      await roundTrip(kept);
      for (let round = 0; round < 3; round += 1) {
        const flood = await openSession(t, it.socketPath);
        flood.settings({ initialWindowSize: 0 });
        await roundTrip(flood);
        for (let index = 0; index < 3000 && !flood.destroyed; index += 1) {
          leave(flood);
          if (index % 500 === 0) await new Promise(setImmediate);
        }
        for (const method of ["Status", "Encrypt"]) {
          const reply = await replyOf(openStream(kept, method).end(statusRequest));
          assert.notEqual(reply.status, 8, `${method} in round ${round}`);
        }
      }
      await it.logger.waitFor(
        ({ message }) =>
          message === "a client that left its calls unfinished was closed: too few slots were free",
      );
      assert.match(await it.metrics.render(), /rejected_total\{[^}]*reason="session"[^}]*\} [1-9]/);
      assert.equal((await replyOf(openStream(kept, "Status").end(statusRequest))).status, 0);
    });

  test("calls that stay open for good are 64 at the most, and keep no others out", async (t) => {
    const it = await startServer(t);
    const session = await openSession(t, it.socketPath);
    const watch = (): ReturnType<typeof openStream> =>
      openStream(session, "", { ":path": "/grpc.health.v1.Health/Watch" }).end(frame(new Uint8Array()));
    for (let index = 0; index < 64; index += 1) watch();
    await roundTrip(session);
    assert.equal((await replyOf(watch())).status, 8);
    assert.equal((await replyOf(openStream(session, "Status").end(statusRequest))).status, 0);
    await assertServes(t, it);
  });

  test("a request that does not come to its end in time is not laid to the KMS", async (t) => {
    const it = await startServer(t, { timeoutMs: 100 });
    const session = await openSession(t, it.socketPath);
    const stream = openStream(session, "Encrypt");
    stream.write(frame(new Uint8Array(8)).subarray(0, 4));
    const reply = await replyOf(stream);
    assert.deepEqual([reply.status, reply.message], [4, "the request was not complete in time"]);
    const line = await it.logger.waitFor((one) => one.message === "call failed");
    assert.match(String(line.error), /before it was a call/);
  });

  test("a client that takes back thousands of calls keeps its connection, and its other calls", async (t) => {
    const it = await startServer(t);
    const session = await openSession(t, it.socketPath);
    for (let round = 0; round < 15; round += 1) {
      const kept = replyOf(openStream(session, "Status").end(statusRequest));
      for (let each = 0; each < 200; each += 1)
        openStream(session, "Encrypt").close(constants.NGHTTP2_CANCEL);
      assert.equal((await kept).status, 0);
    }
    assert.equal(session.destroyed, false);
  });

  test("an answer that its client does not read is given up after --timeout", async (t) => {
    const it = await startServer(t, { timeoutMs: 100 });
    const session = await openSession(t, it.socketPath);
    session.settings({ initialWindowSize: 0 });
    await roundTrip(session);
    const stream = openStream(session, "Status").end(statusRequest).resume();
    await once(stream, "close");
    assert.equal(it.logger.lines.filter(({ message }) => message === "call answered").length, 1);
    await assertServes(t, it);
  });

  test("thousands of requests reset as soon as they are sent leave nothing behind", async (t) => {
    const it = await startServer(t);
    const session = await openSession(t, it.socketPath);
    const request = frame(
      toBinary(EncryptRequestSchema, create(EncryptRequestSchema, { plaintext: new Uint8Array(32) })),
    );
    for (let round = 0; round < 20 && !session.destroyed; round += 1) {
      for (let each = 0; each < 200 && !session.destroyed; each += 1) {
        const stream = openStream(session, "Encrypt");
        stream.write(request);
        stream.close(constants.NGHTTP2_CANCEL);
      }
      await new Promise(setImmediate);
    }
    session.destroy();
    await assertServes(t, it);
    assert.equal(it.server.inflight(), 0);
  });

  for (const [what, text] of [
    ["broken", '{"plaintext": SEED-OF-A-KEY}'],
    ["of another type", '"SEED-OF-A-KEY"'],
    ["of another type in a field", '{"uid": {"SEED-OF-A-KEY": 1}, "plaintext": "SEED-OF-A-KEY"}'],
    ["long, and answered compressed", `"${"SEED-OF-A-KEY".repeat(500)}"`],
  ] as const)
    for (const type of ["application/json", "application/grpc+json"])
      test(`JSON as ${type} that is ${what} is refused, and not quoted`, async (t) => {
        const it = await startServer(t);
        const headers = { "content-type": type, "accept-encoding": "gzip", "grpc-accept-encoding": "gzip" };
        const stream = openStream(await openSession(t, it.socketPath), "Encrypt", headers);
        const body = Buffer.from(text);
        const reply = await replyOf(stream.end(type === "application/json" ? body : frame(body)));
        const said =
          type === "application/json"
            ? JSON.parse(reply.body.toString())
            : { code: "invalid_argument", message: reply.message };
        assert.deepEqual(said, {
          code: "invalid_argument",
          message: "the request is not readable as JSON of its type",
        });
        assert.equal(reply.httpStatus, type === "application/json" ? 400 : 200);
        const everything = JSON.stringify([reply.fields, reply.body.toString("latin1"), it.logger.lines]);
        assert.ok(!everything.includes("SEED"), everything);
        await assertServes(t, it);
      });

  test("nothing of all this is printed on the console", async (t) => {
    const printed = t.mock.method(console, "error", () => undefined);
    const it = await startServer(t);
    const session = await openSession(t, it.socketPath);
    const stream = openStream(session, "Status");
    stream.write(statusRequest.subarray(0, 2));
    await roundTrip(session);
    session.destroy();
    await it.logger.waitFor((line) => line.message === "call failed");
    for (const leave of [
      (one: ReturnType<typeof openStream>) => one.close(constants.NGHTTP2_CANCEL),
      (one: ReturnType<typeof openStream>) => one.close(constants.NGHTTP2_INTERNAL_ERROR),
      (one: ReturnType<typeof openStream>) => one.session?.destroy(),
    ])
      for (const [type, path, body] of [
        ["application/grpc", "/grpc.health.v1.Health/Watch", frame(new Uint8Array())],
        ["application/GRPC", "/v2.KeyManagementService/Encrypt", frame(new Uint8Array(8)).subarray(0, 9)],
        ["application/json", "/v2.KeyManagementService/Encrypt", Buffer.from('{"plaintext":')],
        ["application/json", "/v2.KeyManagementService/Status", Buffer.from("{}")],
        ["application/connect+json", "/grpc.health.v1.Health/Watch", frame(Buffer.from("{}"))],
      ] as const)
        for (const isRead of [true, false]) {
          const other = await openSession(t, it.socketPath);
          if (!isRead) other.settings({ initialWindowSize: 0 });
          const left = openStream(other, "", { ":path": path, "content-type": type });
          left.write(body);
          await roundTrip(other);
          leave(left);
        }
    await assertServes(t, it);
    assert.deepEqual(
      printed.mock.calls.map((call) => call.arguments),
      [],
    );
  });
});

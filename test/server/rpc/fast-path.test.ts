/** The fast path answers as Connect's own handlers do, in whatever pieces a body comes. */
import assert from "node:assert/strict";
import type { ClientHttp2Session } from "node:http2";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  DecryptRequestSchema,
  EncryptRequestSchema,
  EncryptResponseSchema,
  StatusResponseSchema,
} from "../../../gen/kms/v2/api_pb.ts";
import { startServer } from "../harness.ts";
import { frame, openSession, openStream, type RawReply, replyOf } from "../raw-http2.ts";

/** Connect takes media types in any case; only the usual spelling takes the fast path. */
const typeOf = { fast: "application/grpc", connect: "application/GRPC" } as const;

async function ask(
  session: ClientHttp2Session,
  path: keyof typeof typeOf,
  method: string,
  body: Uint8Array,
): Promise<RawReply> {
  return await replyOf(openStream(session, method, { "content-type": typeOf[path] }).end(body));
}

const encryptRequest = frame(
  toBinary(
    EncryptRequestSchema,
    create(EncryptRequestSchema, { plaintext: new Uint8Array(32), uid: "6ba7b810" }),
  ),
);

describe("the fast path answers as Connect's handler does", () => {
  const requests = [
    ["Status", "Status", frame(new Uint8Array()), 0],
    ["Encrypt", "Encrypt", encryptRequest, 0],
    ["Encrypt of nothing", "Encrypt", frame(new Uint8Array()), 3],
    [
      "Decrypt with a key that is not there",
      "Decrypt",
      frame(
        toBinary(
          DecryptRequestSchema,
          create(DecryptRequestSchema, { ciphertext: new Uint8Array(48), keyId: "no-such-key" }),
        ),
      ),
      5,
    ],
    ["no message", "Encrypt", new Uint8Array(), 12],
    ["two messages", "Status", Buffer.concat([frame(new Uint8Array()), frame(new Uint8Array())]), 12],
    ["half a message", "Encrypt", encryptRequest.subarray(0, 20), 3],
    ["a message too long", "Encrypt", frame(Buffer.alloc(64 * 1024 + 1)), 8],
    ["a compressed message", "Encrypt", frame(Buffer.alloc(10), 1), undefined],
    ["what is no protobuf", "Encrypt", frame(Buffer.from("ffffffffffffffffff", "hex")), 13],
  ] as const;
  for (const [what, method, body, status] of requests)
    test(what, async (t) => {
      const it = await startServer(t);
      const session = await openSession(t, it.socketPath);
      const [fast, connect] = [
        await ask(session, "fast", method, body),
        await ask(session, "connect", method, body),
      ];
      if (status !== undefined) assert.equal(fast.status, status);
      delete fast.fields.date;
      delete connect.fields.date;
      assert.deepEqual(fast.fields, connect.fields);
      assert.equal(fast.body.length, connect.body.length);
    });
});

test("a message in single bytes is put together, over Connect's path too", async (t) => {
  const it = await startServer(t);
  const session = await openSession(t, it.socketPath);
  for (const path of ["fast", "connect"] as const) {
    const stream = openStream(session, "Encrypt", { "content-type": typeOf[path] });
    const reply = replyOf(stream);
    for (const byte of encryptRequest) {
      stream.write(Buffer.of(byte));
      await turn();
    }
    stream.end();
    const { status, body } = await reply;
    assert.equal(status, 0);
    assert.notEqual(fromBinary(EncryptResponseSchema, body.subarray(5)).keyId, "");
  }
});

test("a message and no end of the request is given up at its deadline, and the next call works", async (t) => {
  const it = await startServer(t);
  const session = await openSession(t, it.socketPath);
  const stream = openStream(session, "Encrypt", { "grpc-timeout": "50m" });
  const reply = replyOf(stream);
  stream.write(encryptRequest);
  assert.equal((await reply).status, 4);
  const next = await ask(session, "fast", "Status", frame(new Uint8Array()));
  assert.equal(fromBinary(StatusResponseSchema, next.body.subarray(5)).healthz, "ok");
});

test("a body without end is stopped, and the next call works", async (t) => {
  const it = await startServer(t);
  const session = await openSession(t, it.socketPath);
  const stream = openStream(session, "Encrypt");
  const reply = replyOf(stream);
  const chunk = Buffer.alloc(16 * 1024);
  const writing = setInterval(() => stream.destroyed || stream.write(chunk), 1);
  t.after(() => clearInterval(writing));
  assert.notEqual((await reply).status, 0);
  assert.equal((await ask(session, "fast", "Status", frame(new Uint8Array()))).status, 0);
});

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { inspect } from "node:util";
import { describe, test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { status as GrpcStatus } from "@grpc/grpc-js";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { NetworkError, ProviderError, type RefusalClass } from "../../../src/errors.ts";
import { connectClient, grpcClient, type LogLine, startServer } from "../harness.ts";
import { frame, openSession, openStream, replyOf, roundTrip } from "../raw-http2.ts";

const { status, encrypt, decrypt } = KeyManagementService.method;
const statusRequest = frame(new Uint8Array());
const seed = randomBytes(32);

/** What a failing call's promise gives. */
async function failure(promise: Promise<unknown>): Promise<ConnectError> {
  const error: unknown = await promise.then(
    () => assert.fail("it should have failed"),
    (caught: unknown) => caught,
  );
  assert.ok(error instanceof ConnectError);
  return error;
}

describe("a request beyond the limits is refused with its own code", () => {
  const iv = { "iv.okms.ovh.com": new Uint8Array(12) };
  const good = { ciphertext: randomBytes(48), keyId: "key-1", annotations: iv };

  for (const [what, length, code] of [
    ["no byte", 0, "REQUEST_PLAINTEXT_EMPTY"],
    ["1009 bytes", 1009, "REQUEST_PLAINTEXT_TOO_LONG"],
  ] as const) {
    test(`Encrypt of ${what}`, async (t) => {
      const it = await startServer(t);
      const error = await failure(
        connectClient(t, it.socketPath).encrypt({ plaintext: new Uint8Array(length), uid: "u" }),
      );
      assert.equal(error.code, Code.InvalidArgument);
      assert.ok(error.rawMessage.endsWith(`[${code}]`), error.rawMessage);
    });
  }

  test("Encrypt of 1008 bytes makes the longest ciphertext that kube-apiserver takes", async (t) => {
    const it = await startServer(t);
    const { ciphertext } = await connectClient(t, it.socketPath).encrypt({ plaintext: new Uint8Array(1008) });
    assert.equal(ciphertext.length, 1024);
  });

  for (const [what, change, code] of [
    ["a ciphertext of no byte", { ciphertext: new Uint8Array() }, "REQUEST_CIPHERTEXT_EMPTY"],
    ["a ciphertext of 15 bytes", { ciphertext: new Uint8Array(15) }, "REQUEST_CIPHERTEXT_TOO_SHORT"],
    ["a ciphertext of 1025 bytes", { ciphertext: new Uint8Array(1025) }, "REQUEST_CIPHERTEXT_TOO_LONG"],
    ["no key_id", { keyId: "" }, "REQUEST_KEY_ID_INVALID"],
    ["a key_id of 1025 bytes", { keyId: "é".repeat(512) + "x" }, "REQUEST_KEY_ID_INVALID"],
    ["no IV", { annotations: {} }, "REQUEST_IV_MISSING"],
    ["an annotation of one label", { annotations: { iv: new Uint8Array(1) } }, "REQUEST_ANNOTATIONS_INVALID"],
    [
      "an annotation in upper case",
      { annotations: { "IV.okms.ovh.com": new Uint8Array(1) } },
      "REQUEST_ANNOTATIONS_INVALID",
    ],
    [
      "an annotation with a label of 64 characters",
      { annotations: { [`${"x".repeat(64)}.com`]: new Uint8Array(1) } },
      "REQUEST_ANNOTATIONS_INVALID",
    ],
    [
      "annotations of 32769 bytes",
      { annotations: { "a.b": new Uint8Array(32_766) } },
      "REQUEST_ANNOTATIONS_INVALID",
    ],
    ["a ciphertext that was tampered with", {}, "REQUEST_CIPHERTEXT_INVALID"],
  ] as const) {
    test(`Decrypt with ${what}`, async (t) => {
      const it = await startServer(t);
      const client = connectClient(t, it.socketPath);
      await client.status({});
      const error = await failure(client.decrypt({ ...good, ...change, uid: "u" }));
      assert.equal(error.code, Code.InvalidArgument);
      assert.ok(error.rawMessage.endsWith(`[${code}]`), error.rawMessage);
      assert.equal((await client.status({})).healthz, "ok");
    });
  }

  test("Decrypt with a key that the KMS does not have is NotFound, and changes no health", async (t) => {
    const it = await startServer(t);
    const client = connectClient(t, it.socketPath);
    const error = await failure(client.decrypt({ ...good, keyId: "gone" }));
    assert.equal(error.code, Code.NotFound);
    assert.match(error.rawMessage, /\[KEY_NOT_FOUND\]$/);
    assert.equal((await client.status({})).healthz, "ok");
    assert.equal(it.status.snapshot().state, "ok");
  });

  test("a ciphertext that the KMS refuses has the key probed deeply, if that was not done for a minute", async (t) => {
    const it = await startServer(t);
    const client = connectClient(t, it.socketPath);
    const { keyId } = await client.status({});
    const isDeep = ({ message, fields }: LogLine): boolean =>
      message === "probe" && fields["reason"] === "Decrypt failed with REQUEST_CIPHERTEXT_INVALID";
    it.encryptor.decryptError = new ProviderError("REQUEST_CIPHERTEXT_INVALID", "changed");
    await failure(client.decrypt({ ...good, keyId }));
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 61_000 });
    assert.ok(!it.logger.lines.some(isDeep));
    await failure(client.decrypt({ ...good, keyId }));
    await it.logger.waitFor(isDeep);
  });

  test("a Decrypt with the current key that the KMS denies is in Status within seconds, and not at the next deep probe", async (t) => {
    const it = await startServer(t);
    const client = connectClient(t, it.socketPath);
    const { keyId } = await client.status({});
    const denied = new ProviderError("KEY_ACCESS_DENIED", "no right to Decrypt");
    it.encryptor.decryptError = denied;
    await failure(client.decrypt({ ...good, keyId }));
    await it.logger.waitFor(
      ({ message, error }) => message.startsWith("the key must not") && error === denied,
    );
    assert.equal((await failure(client.status({}))).code, Code.PermissionDenied);
  });
});

/** Refusals as the encryptors give them. */
const kmip = (name: string, refusalClass: RefusalClass): Error =>
  new ProviderError("KMIP_RESULT", "secret words", { refusal: { class: refusalClass, name } });
const rest = (httpStatus: number, refusalClass: RefusalClass): Error =>
  new ProviderError("REST_STATUS", "secret words", {
    refusal: { class: refusalClass, name: `status ${httpStatus}` },
  });

describe("an error of the KMS becomes a gRPC code and a fixed text", () => {
  for (const [error, code, text] of [
    [
      kmip("Item Not Found", "not-found"),
      "NotFound",
      "the KMS refused the operation: Item Not Found [KMIP_RESULT]",
    ],
    [
      kmip("Permission Denied", "permission-denied"),
      "PermissionDenied",
      "the KMS refused the operation: Permission Denied [KMIP_RESULT]",
    ],
    [
      kmip("Cryptographic Failure", "invalid-argument"),
      "InvalidArgument",
      "the KMS refused the operation: Cryptographic Failure [KMIP_RESULT]",
    ],
    [
      kmip("Wrong Key Lifecycle State", "failed-precondition"),
      "FailedPrecondition",
      "the KMS refused the operation: Wrong Key Lifecycle State [KMIP_RESULT]",
    ],
    [
      kmip("General Failure", "other"),
      "Internal",
      "the KMS refused the operation: General Failure [KMIP_RESULT]",
    ],
    [
      rest(401, "permission-denied"),
      "PermissionDenied",
      "the KMS refused the request: status 401 [REST_STATUS]",
    ],
    [rest(404, "not-found"), "NotFound", "the KMS refused the request: status 404 [REST_STATUS]"],
    [rest(429, "overloaded"), "ResourceExhausted", "the KMS refused the request: status 429 [REST_STATUS]"],
    [rest(503, "unavailable"), "Unavailable", "the KMS refused the request: status 503 [REST_STATUS]"],
    [
      new NetworkError("CONNECT", "secret words", { endpoint: "kms:5696", sent: false }),
      "Unavailable",
      "the KMS cannot be reached [CONNECT]",
    ],
    [
      new NetworkError("TLS", "secret words", {
        endpoint: "kms:5696",
        sent: true,
        clientCertificate: "refused",
      }),
      "Unavailable",
      "no TLS connection to the KMS can be made: it refuses the client certificate [TLS]",
    ],
    [
      new NetworkError("CLOSED", "secret words", {
        endpoint: "kms:5696",
        sent: true,
        clientCertificate: "may be refused",
      }),
      "Unavailable",
      "the connection to the KMS was lost: it may refuse the client certificate [CLOSED]",
    ],
    [
      new ProviderError("TIMEOUT", "secret words"),
      "DeadlineExceeded",
      "the KMS did not answer in time [TIMEOUT]",
    ],
    [
      new ProviderError("KEY_NOT_ACTIVE", "secret words"),
      "FailedPrecondition",
      "the key is not active [KEY_NOT_ACTIVE]",
    ],
    [new TypeError("secret words"), "Internal", "a fault in the provider [INTERNAL]"],
  ] as const) {
    test(`${inspect(error).split("\n", 1)[0] ?? ""} gives ${code}`, async (t) => {
      const it = await startServer(t);
      const client = connectClient(t, it.socketPath);
      await client.status({});
      it.encryptor.encryptError = error;
      const seen = await failure(client.encrypt({ plaintext: seed, uid: "u-1" }));
      assert.equal(Code[seen.code], code);
      assert.equal(seen.rawMessage, text);
      const line = await it.logger.waitFor(({ fields }) => fields["uid"] === "u-1");
      assert.equal(line.fields["grpc"], code);
      assert.equal(line.error, error);
    });
  }
});

describe("a call has one budget", () => {
  test("the caller's deadline ends it where the KMS takes no notice, and its signal aborts", async (t) => {
    const it = await startServer(t);
    const session = await openSession(t, it.socketPath);
    assert.equal((await replyOf(openStream(session, "Status").end(statusRequest))).status, 0);
    it.encryptor.hangs = true;
    const started = performance.now();
    const stream = openStream(session, "Encrypt", { "grpc-timeout": "100m" });
    const reply = await replyOf(stream.end(frame(Uint8Array.of(0x0a, 1, 7))));
    assert.equal(reply.status, GrpcStatus.DEADLINE_EXCEEDED);
    assert.ok(performance.now() - started < 1000);
    assert.equal(it.encryptor.signals.at(-1)?.aborted, true);
    assert.equal(it.server.inflight(), 0);
  });

  test("what is answered as the caller's time ends is heard by the caller, with its reason", async (t) => {
    const it = await startServer(t);
    const client = grpcClient(t, `unix://${it.socketPath}`);
    await client.call(status, {});
    it.encryptor.hangs = true;
    const { error } = await client.call(encrypt, { plaintext: seed }, { deadline: Date.now() + 2000 });
    assert.equal(error?.code, GrpcStatus.DEADLINE_EXCEEDED);
    assert.match(error.details, /\[TIMEOUT\]/);
  });

  test("--timeout ends it where the caller gives none, or a longer one", async (t) => {
    const it = await startServer(t, { timeoutMs: 100 });
    const session = await openSession(t, it.socketPath);
    await replyOf(openStream(session, "Status").end(statusRequest));
    it.encryptor.hangs = true;
    for (const headers of [{}, { "grpc-timeout": "1H" }, { "grpc-timeout": "99999999H" }]) {
      const stream = openStream(session, "Encrypt", headers);
      const reply = await replyOf(stream.end(frame(Uint8Array.of(0x0a, 1, 7))));
      assert.equal(reply.status, GrpcStatus.DEADLINE_EXCEEDED);
    }
  });

  test("a deadline of 11 000 years is not over at once", async (t) => {
    const it = await startServer(t);
    const stream = openStream(await openSession(t, it.socketPath), "Status", { "grpc-timeout": "99999999H" });
    assert.equal((await replyOf(stream.end(statusRequest))).status, 0);
  });

  test("a body that never comes is given up at its deadline", async (t) => {
    const it = await startServer(t, { timeoutMs: 100 });
    const stream = openStream(await openSession(t, it.socketPath), "Encrypt");
    stream.write(frame(new Uint8Array(10)).subarray(0, 4));
    assert.equal((await replyOf(stream)).status, GrpcStatus.DEADLINE_EXCEEDED);
  });

  test("a caller that leaves aborts what was under way, and is logged as Canceled", async (t) => {
    const it = await startServer(t);
    const session = await openSession(t, it.socketPath);
    await replyOf(openStream(session, "Status").end(statusRequest));
    it.encryptor.delayMs = 60_000;
    const stream = openStream(session, "Encrypt").end(frame(Uint8Array.of(0x0a, 1, 7)));
    await roundTrip(session);
    stream.close(8);
    const line = await it.logger.waitFor(({ message }) => message === "call failed");
    assert.equal(line.fields["grpc"], "Canceled");
    assert.equal(it.encryptor.signals.at(-1)?.aborted, true);
    assert.equal(it.server.inflight(), 0);
  });
});

test("more calls than --max-inflight are refused at once, Status is not, and the slots come back", async (t) => {
  const it = await startServer(t, { maxInflight: 2 });
  const client = connectClient(t, it.socketPath);
  await client.status({});
  it.encryptor.delayMs = 1_000;
  const inside = [client.encrypt({ plaintext: seed }), client.encrypt({ plaintext: seed })];
  while (it.server.inflight() < 2) await new Promise(setImmediate);
  const error = await failure(client.encrypt({ plaintext: seed }));
  assert.equal(error.code, Code.ResourceExhausted);
  assert.equal(error.rawMessage, "too many calls at once [OVERLOADED]");
  assert.equal((await client.status({})).healthz, "ok");
  assert.equal(it.server.inflight(), 2, "both were inside all the while");
  await Promise.all(inside);
  it.encryptor.delayMs = 0;
  await client.encrypt({ plaintext: seed });
  assert.match(await it.metrics.render(), /rejected_total\{[^}]*reason="overloaded"[^}]*\} 1/);
});

test("a thousand calls at once on one connection: each is answered or told of the overload, at once", async (t) => {
  const it = await startServer(t);
  const client = grpcClient(t, `unix://${it.socketPath}`);
  await client.call(status, {});
  it.encryptor.delayMs = 300;
  const results = await Promise.all(
    Array.from({ length: 1000 }, () =>
      client.call(encrypt, { plaintext: seed }, { deadline: Date.now() + 8000 }),
    ),
  );
  const failures = results.flatMap(({ error }) => (error === undefined ? [] : [error.code]));
  assert.deepEqual([...new Set(failures)], [GrpcStatus.RESOURCE_EXHAUSTED]);
  assert.ok(failures.length <= 1000 - 512);
  assert.equal(it.server.inflight(), 0);
});

test("Encrypt and Status change to a new key in one step, and values of the old key still decrypt", async (t) => {
  const it = await startServer(t, { key: { label: "kek" }, probeIntervalMs: 20 });
  const client = connectClient(t, it.socketPath);
  const old = await client.encrypt({ plaintext: seed });
  it.encryptor.keyId = "key-2";
  let now = await client.status({});
  while (now.keyId === "key-1") {
    const wrapped = await client.encrypt({ plaintext: seed });
    const after = await client.status({});
    assert.ok(wrapped.keyId === now.keyId || wrapped.keyId === after.keyId);
    now = after;
  }
  assert.equal((await client.encrypt({ plaintext: seed })).keyId, "key-2");
  const { plaintext } = await client.decrypt({
    ciphertext: old.ciphertext,
    keyId: old.keyId,
    annotations: old.annotations,
  });
  assert.deepEqual(Buffer.from(plaintext), seed);
});

describe("a key that must not be used", () => {
  test("is found by the Encrypt that the KMS refuses, long before the next probe is due", async (t) => {
    const it = await startServer(t);
    const client = connectClient(t, it.socketPath);
    await client.status({});
    it.encryptor.encryptError = new ProviderError("KEY_NOT_ACTIVE", "Deactivated");
    await failure(client.encrypt({ plaintext: seed }));
    await it.logger.waitFor(({ fields }) => fields["state"] === "permanent");
    const error = await failure(client.status({}));
    assert.equal(error.code, Code.FailedPrecondition);
    assert.equal(error.rawMessage, "the key is not active [KEY_NOT_ACTIVE]");
  });

  test("does not keep a Decrypt from being tried", async (t) => {
    const it = await startServer(t);
    const client = connectClient(t, it.socketPath);
    const { ciphertext, keyId, annotations } = await client.encrypt({ plaintext: seed });
    it.encryptor.encryptError = new ProviderError("KEY_NOT_ACTIVE", "Deactivated");
    await failure(client.encrypt({ plaintext: seed }));
    await it.logger.waitFor(({ fields }) => fields["state"] === "permanent");
    assert.equal((await client.decrypt({ ciphertext, keyId, annotations })).plaintext.length, 32);
  });
});

test("a KMS that is away from the start makes Status fail as Unavailable, with the class of the failure", async (t) => {
  const it = await startServer(t, {
    prepare: (encryptor) =>
      (encryptor.resolveError = new ProviderError("TIMEOUT", "no answer from kms:5696")),
  });
  const { error } = await grpcClient(t, `unix://${it.socketPath}`).call(status, {});
  assert.equal(error?.code, GrpcStatus.UNAVAILABLE);
  assert.equal(error.details, "the KMS did not answer in time [TIMEOUT]");
  const line = await it.logger.waitFor(({ message }) => message === "call failed");
  assert.equal(line.error, it.encryptor.resolveError);
});

test("each call has a line in the log with uid, method, code, time and the key's hash, and nothing of its payload", async (t) => {
  const it = await startServer(t);
  const client = grpcClient(t, `unix://${it.socketPath}`);
  const uid = "3f1c0f5e-8b0e-4c1a-9a53-1f3c5f1d2e11";
  const wrapped = await client.call(encrypt, { plaintext: seed, uid });
  assert.ok(wrapped.reply);
  const { ciphertext, keyId, annotations } = wrapped.reply;
  await client.call(decrypt, {
    ciphertext,
    keyId,
    annotations,
    uid: "bad\nuid \u001B[31m" + "x".repeat(100),
  });
  const [first, second] = it.logger.lines.filter(({ message }) => message === "call answered");
  assert.equal(first?.level, "info");
  assert.equal(first.fields["method"], "Encrypt");
  assert.equal(first.fields["uid"], uid);
  assert.equal(first.fields["grpc"], "OK");
  assert.match(String(first.fields["key"]), /^sha256:[0-9a-f]{64}$/);
  assert.equal(typeof first.fields["ms"], "number");
  assert.match(String(second?.fields["uid"]), /^bad\?uid\?\?\?31mx+$/);
  assert.equal(String(second?.fields["uid"]).length, 64);
  const everything = inspect(it.logger.lines, { depth: 9, maxArrayLength: null });
  for (const secret of [seed, Buffer.from(ciphertext)]) {
    assert.ok(
      !everything.includes(secret.toString("hex")) && !everything.includes(secret.toString("base64")),
    );
    assert.ok(!everything.includes([...secret].join(", ")));
  }
});

test("each call is counted with its method and its code", async (t) => {
  const it = await startServer(t);
  const client = connectClient(t, it.socketPath);
  await client.status({});
  await failure(client.decrypt({ ciphertext: new Uint8Array(), keyId: "key-1" }));
  await it.logger.waitFor(({ message }) => message === "call failed");
  const text = await it.metrics.render();
  assert.match(text, /requests_total\{[^}]*method="Status",code="OK"[^}]*\} 1/);
  assert.match(text, /requests_total\{[^}]*method="Decrypt",code="InvalidArgument"[^}]*\} 1/);
  assert.match(text, /inflight_requests(\{[^}]*\})? 0/);
});

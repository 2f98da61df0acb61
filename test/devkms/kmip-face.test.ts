/** The KMIP face of the embedded KMS as a server: TLS, faults, hostile bytes. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:tls";
import { after, afterEach, before, type TestContext, test } from "node:test";
import * as fc from "fast-check";
import { call, createRequest } from "../../src/kmip/batch.ts";
import { decodeResponse, encodeRequest } from "../../src/kmip/messages.ts";
import { discoverVersionsOperation, queryOperation } from "../../src/kmip/operations/index.ts";
import { ResultReason, ResultStatus } from "../../src/kmip/spec/enumerations.ts";
import { parseVersion } from "../../src/kmip/version.ts";
import { createAuthority, writeClientFiles } from "./certificates.ts";
import { type DevKms, startDevKms } from "./devkms.ts";
import { resetFaults } from "./faults.ts";
import { type BareClient, connectBare } from "./kmip-client.ts";

let kms: DevKms;
before(async () => {
  kms = await startDevKms({ rest: false });
});
afterEach(() => resetFaults(kms.faults));
after(async () => {
  await kms.close();
  assert.equal(kms.connections(), 0);
});

const ping = encodeRequest(createRequest(parseVersion("1.4"), [call(discoverVersionsOperation, {})]));

async function open(t: TestContext): Promise<BareClient> {
  const client = await connectBare(kms.kmipAddress, kms.clientFiles);
  t.after(() => client.socket.destroy());
  return client;
}

async function answers(client: BareClient): Promise<boolean> {
  const reply = await client.exchange(ping);
  return reply !== undefined && decodeResponse(reply).items[0]?.resultStatus === ResultStatus.Success;
}

/** Everything that a fresh connection gets for `bytes` until the server closes it. */
async function everythingFor(t: TestContext, bytes: Uint8Array): Promise<Buffer> {
  const { socket } = await open(t);
  const got: Buffer[] = [];
  socket.removeAllListeners("data").on("data", (chunk: Buffer) => got.push(chunk));
  socket.write(bytes);
  await once(socket, "end");
  return Buffer.concat(got);
}

test("a client without a certificate, or with one of another authority, gets nowhere", async (t) => {
  const other = await createAuthority();
  const foreign = await writeClientFiles(`${kms.folder}/foreign`, other);
  const port = Number(kms.kmipAddress.split(":")[1]);
  const ca = kms.authority.caPem;
  for (const files of [undefined, foreign]) {
    const issued = files === undefined ? {} : await other.issue({ commonName: "foreign" });
    const socket = connect({ port, host: "127.0.0.1", ca, ...issued });
    t.after(() => socket.destroy());
    socket.on("error", () => undefined).on("secureConnect", () => socket.write(ping));
    socket.on("data", () => assert.fail("answered"));
    await new Promise((resolve) => void socket.once("close", resolve));
  }
});

test("TLS 1.1 is not spoken", async () => {
  const port = Number(kms.kmipAddress.split(":")[1]);
  const { cert, key } = await kms.authority.issue({ commonName: "client" });
  const old = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" } as const;
  const socket = connect({ port, host: "127.0.0.1", ca: kms.authority.caPem, cert, key, ...old });
  const [error] = await once(socket, "error");
  assert.match(String(error), /protocol|version/i);
});

test("requests sent at once on one connection are answered one after another, in order", async (t) => {
  const client = await open(t);
  const batches = [1, 2, 3].map((count) =>
    encodeRequest(
      createRequest(
        parseVersion("1.4"),
        Array.from({ length: count }, () => call(queryOperation, {})),
      ),
    ),
  );
  const replies = await Promise.all(batches.map((bytes) => client.exchange(bytes)));
  assert.deepEqual(
    replies.map((reply) => reply && decodeResponse(reply).items.length),
    [1, 2, 3],
  );
});

test("a request in pieces of one byte is answered", async (t) => {
  const { socket } = await open(t);
  for (const byte of ping) socket.write(Buffer.of(byte));
  const [reply] = (await once(socket, "data")) as [Buffer];
  assert.equal(decodeResponse(reply).items[0]?.resultStatus, ResultStatus.Success);
});

test("requests are counted by operation, and messages by what is in them", async (t) => {
  const client = await open(t);
  const earlier = [kms.kmipRequests()["Query"] ?? 0, kms.kmipMessages()["Query+Query"] ?? 0];
  await client.batch("1.4", [call(queryOperation, {}), call(queryOperation, {})]);
  assert.deepEqual(
    [kms.kmipRequests()["Query"], kms.kmipMessages()["Query+Query"]],
    [(earlier[0] ?? 0) + 2, (earlier[1] ?? 0) + 1],
  );
});

test("a refusal names its reason, befalls its operation only, and ends with its count", async (t) => {
  const client = await open(t);
  kms.faults.refuse = { operation: "DiscoverVersions", reason: "PermissionDenied", message: "not you" };
  kms.faults.count = 1;
  const other = await client.batch("1.4", [call(queryOperation, {})]);
  assert.equal(other.items[0]?.resultStatus, ResultStatus.Success);
  const { items } = await client.batch("1.4", [call(discoverVersionsOperation, {})]);
  assert.equal(items[0]?.resultReason, ResultReason.PermissionDenied);
  assert.equal(items[0]?.resultMessage, "not you");
  assert.ok(await answers(client));
});

test("a delay comes before the answer", async (t) => {
  const client = await open(t);
  kms.faults.delayMs = 60;
  const begin = performance.now();
  assert.ok(await answers(client));
  assert.ok(performance.now() - begin >= 55);
});

test("a silent KMS reads a request, answers nothing and keeps the connection", async (t) => {
  const client = await open(t);
  kms.faults.silent = true;
  kms.faults.count = 1;
  client.socket.write(ping);
  assert.ok(await answers(client), "the next request is answered, and only it");
  assert.equal(client.socket.closed, false);
});

test("closing after the request sends not a byte", async (t) => {
  kms.faults.closeAfterRequest = true;
  assert.equal((await everythingFor(t, ping)).length, 0);
});

test("half a frame is half of the answer, and no end", async (t) => {
  const { socket } = await open(t);
  kms.faults.halfFrame = true;
  socket.write(ping);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  assert.ok(chunk.length >= 8 && chunk.length < chunk.readUInt32BE(4) + 8);
  assert.equal(socket.closed, false);
});

test("garbage is no KMIP", async (t) => {
  const { socket } = await open(t);
  socket.removeAllListeners("data");
  kms.faults.garbage = true;
  socket.write(ping);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  assert.throws(() => decodeResponse(chunk), { name: "TtlvError" });
});

const frame = (tag: number, length: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(tag * 256 + 1, 0);
  bytes.writeUInt32BE(length, 4);
  return bytes;
};
for (const [what, bytes] of [
  ["what is no KMIP at all", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["a message of 4 GiB", frame(0x420078, 0xfffffff8)],
  ["an empty Request Message", frame(0x420078, 0)],
  ["a Response Message", frame(0x42007b, 0)],
  ["a request whose first length is wrong", Buffer.from(ping).fill(0xff, 12, 16)],
] as const)
  test(`${what} is answered with Invalid Message and the end of the connection`, async (t) => {
    const reply = await everythingFor(t, bytes);
    const { items } = decodeResponse(reply);
    assert.equal(items[0]?.resultReason, ResultReason.InvalidMessage);
    assert.ok(await answers(await open(t)), "and others are served");
  });

test("no bytes end the KMS: random ones, and requests with bytes changed", async (t) => {
  const client = await open(t);
  const broken = fc.oneof(
    fc.uint8Array({ minLength: 8, maxLength: 200 }),
    fc
      .tuple(fc.nat(ping.length - 1), fc.nat(255))
      .map(([at, byte]) => Buffer.from(ping).fill(byte, at, at + 1)),
  );
  await fc.assert(
    fc.asyncProperty(broken, async (bytes) => {
      const hostile = await connectBare(kms.kmipAddress, kms.clientFiles);
      hostile.socket.end(bytes);
      await new Promise((resolve) => void hostile.socket.once("close", resolve));
    }),
    { numRuns: 60 },
  );
  assert.ok(await answers(client));
});

test("a client that leaves in the middle of a message costs nothing but its connection", async (t) => {
  const client = await open(t);
  const leaving = await open(t);
  leaving.socket.write(Buffer.concat([ping, ping.subarray(0, 20), randomBytes(0)]));
  leaving.socket.destroy();
  assert.ok(await answers(client));
});

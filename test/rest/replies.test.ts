/** Replies that a KMS should never send: every one an error of its own, none a crash, nothing believed unchecked. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { createRestEncryptor } from "../../src/encryptors/rest.ts";
import type { Encryptor } from "../../src/encryptors/encryptor.ts";
import { materialOf, seed, withCode, within } from "./harness.ts";
import { createAuthority } from "../devkms/certificates.ts";
import { parseRestAddress } from "../../src/net/address.ts";

const keyId = randomUUID();
const otherId = randomUUID();
const okmsId = randomUUID();
const issued = createAuthority().then((authority) => authority.issue({ commonName: "client" }));

type Reply = (request: IncomingMessage, response: ServerResponse) => void;

/** A server in clear on loopback that answers as the test wants, and an encryptor before it. */
async function start(t: TestContext, reply: Reply, key: object = { label: "kek" }): Promise<Encryptor> {
  const server = createServer(reply).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/prefix/`;
  const options = {
    servers: [parseRestAddress(url, { insecureHttp: true })],
    okmsId,
    insecureHttp: true,
    key: key as { label: string },
  };
  const encryptor = createRestEncryptor(options);
  encryptor.setTlsMaterial(materialOf(await issued));
  t.after(async () => {
    await encryptor.close();
    server.close();
  });
  return encryptor;
}

function json(value: unknown): Reply {
  return (_, response) => response.end(JSON.stringify(value));
}

const jwe = "eyJhbGciOiJkaXIifQ..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA";
const badCalls: readonly (readonly [string, "encrypt" | "decrypt", unknown, RegExp])[] = [
  ["no ciphertext", "encrypt", {}, /\(ciphertext\)/],
  ["a number for a ciphertext", "encrypt", { ciphertext: 7 }, /\(ciphertext\)/],
  ["an empty ciphertext", "encrypt", { ciphertext: "" }, /\(ciphertext\)/],
  ["a ciphertext that Decrypt would refuse", "encrypt", { ciphertext: "a.b.c" }, /\(ciphertext\)/],
  ["null", "encrypt", null, /\(the body\)/],
  ["no plaintext", "decrypt", {}, /\(plaintext\)/],
  ["a plaintext that is not base64", "decrypt", { plaintext: "####" }, /\(plaintext\)/],
  ["a plaintext of base64url", "decrypt", { plaintext: "_-_-" }, /\(plaintext\)/],
];

for (const [what, call, body, message] of badCalls)
  test(`a reply to ${call} with ${what} is REST_BODY, and the message quotes nothing of it`, async (t) => {
    const encryptor = await start(t, json(body));
    const result =
      call === "encrypt"
        ? encryptor.encrypt(seed, keyId, within(5_000))
        : encryptor.decrypt({ ciphertext: Buffer.from(jwe), annotations: {}, keyId }, within(5_000));
    await assert.rejects(result, (error: Error) => {
      assert.ok(!error.message.includes("####"));
      return withCode("REST_BODY", message)(error);
    });
  });

/** What a proxy shows to people. */
const loginPage: Reply = (_, response) =>
  void response.setHeader("content-type", "text/html").end("\n<!DOCTYPE html><title>Sign in</title>");

test("a login page in place of a reply is told as one", async (t) => {
  const encryptor = await start(t, loginPage);
  await assert.rejects(
    encryptor.encrypt(seed, keyId, within(5_000)),
    withCode("REST_BODY", /\(an HTML page, as of a proxy or a login\)/),
  );
});

const key = {
  id: keyId,
  name: "kek",
  type: "oct",
  operations: ["encrypt", "decrypt"],
  attributes: { state: "active" },
};

test("unknown fields of a reply are ignored", async (t) => {
  const encryptor = await start(t, json({ ...key, size: 256, keys: [{ kty: "oct" }], curve: null }), {
    id: keyId,
  });
  assert.deepEqual(await encryptor.resolveKey(within(5_000)), { keyId, name: "kek", lengthBits: 256 });
});

test("another key than the one asked for is REST_BODY", async (t) => {
  const encryptor = await start(t, json({ ...key, id: otherId }), { id: keyId });
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("REST_BODY", /another key/));
});

test("a key whose id is no UUID is REST_BODY", async (t) => {
  const encryptor = await start(t, json({ ...key, id: "../x" }), { id: keyId });
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("REST_BODY", /\(id\)/));
});

test("a list that leaves attributes out makes the key itself be asked for", async (t) => {
  const asked: string[] = [];
  const encryptor = await start(t, (request, response) => {
    asked.push(request.url ?? "");
    const isList = request.url?.includes("?") === true;
    response.end(JSON.stringify(isList ? { objects_list: [{ id: keyId, name: "kek" }] } : key));
  });
  assert.equal((await encryptor.resolveKey(within(5_000))).keyId, keyId);
  assert.deepEqual(asked, [
    `/prefix/api/${okmsId}/v1/servicekey?state=active&max=100`,
    `/prefix/api/${okmsId}/v1/servicekey/${keyId}`,
  ]);
});

test("a list without keys, written as null, is an empty one", async (t) => {
  const encryptor = await start(t, json({ objects_list: null, is_truncated: false }));
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("KEY_NOT_FOUND"));
});

test("a list that goes in circles is REST_BODY, and ends", async (t) => {
  const tokens = ["a", "b", "a"];
  let pages = 0;
  const encryptor = await start(t, (_, response) => {
    const continuation_token = tokens[pages % 3];
    pages += 1;
    response.end(JSON.stringify({ objects_list: [], is_truncated: true, continuation_token }));
  });
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("REST_BODY", /no end/));
  assert.equal(pages, 3);
});

test("a token that needs escaping comes back as it was", async (t) => {
  const token = "a+b/c=&max=1 ü";
  const encryptor = await start(t, (request, response) => {
    const sent = new URL(request.url ?? "", "http://kms").searchParams.get("continuation-token");
    const first = { objects_list: [], is_truncated: true, continuation_token: token };
    response.end(JSON.stringify(sent === token ? { objects_list: [key] } : first));
  });
  assert.equal((await encryptor.resolveKey(within(5_000))).keyId, keyId);
});

test("a redirect is refused, and what it points to never asked", async (t) => {
  const asked: string[] = [];
  const encryptor = await start(t, (request, response) => {
    asked.push(request.url ?? "");
    response.writeHead(307, { location: "/elsewhere" }).end();
  });
  await assert.rejects(
    encryptor.encrypt(seed, keyId, within(5_000)),
    withCode("REST_STATUS", /307, a redirect, which is never followed/),
  );
  assert.equal(asked.length, 1);
});

test("a reply that is not HTTP is REST_BODY, after it was asked for once more", async (t) => {
  const encryptor = await start(t, (request) => request.socket.end("\u0016\u0003\u0001 not HTTP\r\n\r\n"));
  await assert.rejects(encryptor.encrypt(seed, keyId, within(1_500)), withCode("REST_BODY", /no HTTP reply/));
});

test("a 100 Continue that was not asked for is REST_BODY, and no doubt of the client certificate", async (t) => {
  const encryptor = await start(t, (_, response) => response.writeContinue());
  await assert.rejects(encryptor.encrypt(seed, keyId, within(1_500)), withCode("REST_BODY", /no HTTP reply/));
});

test("a body shorter than its Content-Length is CLOSED, never a value", async (t) => {
  const encryptor = await start(t, (_, response) => {
    response.writeHead(200, { "content-length": "500" }).write(JSON.stringify({ ciphertext: jwe }));
    response.socket?.end();
  });
  await assert.rejects(encryptor.encrypt(seed, keyId, within(1_500)), withCode("CLOSED"));
});

test("a page just over 1 MiB is REST_BODY, one just under is read", async (t) => {
  let bytes = 1_048_577;
  const encryptor = await start(t, (_, response) => {
    response.end(JSON.stringify({ objects_list: [key] }).padEnd(bytes, " "));
  });
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("REST_BODY", /1048576 bytes/));
  bytes = 1_048_576;
  assert.equal((await encryptor.resolveKey(within(5_000))).keyId, keyId);
});

test("a reply to a call of just over 64 KiB is REST_BODY, one of 64 KiB is read", async (t) => {
  let bytes = 65_537;
  const encryptor = await start(t, (_, response) =>
    response.end(JSON.stringify({ ciphertext: jwe }).padEnd(bytes)),
  );
  await assert.rejects(encryptor.encrypt(seed, keyId, within(5_000)), withCode("REST_BODY", /65536 bytes/));
  bytes = 65_536;
  await encryptor.encrypt(seed, keyId, within(5_000));
});

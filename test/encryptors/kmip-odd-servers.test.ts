/** The KMIP driver before servers that take liberties: those that can be lived with, and those that must not be. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createKmipEncryptor } from "../../src/encryptors/kmip.ts";
import type { Encryptor } from "../../src/encryptors/encryptor.ts";
import { failureItem, successItem } from "../../src/kmip/batch.ts";
import {
  decodeRequest,
  decryptOperation,
  discoverVersionsOperation,
  encodeResponse,
  encryptOperation,
  type EncryptResponse,
  Operation,
  parseVersion,
  ResultReason,
} from "../../src/kmip/index.ts";
import { clientMaterial, type EchoServer, startEchoServer } from "../kmip/echo-server.ts";
import { within } from "./kmip-harness.ts";
import { parseKmipAddress } from "../../src/net/address.ts";

const seed = Buffer.alloc(32, 7);
const data = Buffer.alloc(32, 8);
const tag = Buffer.alloc(16, 9);
const ivAnnotation = "iv.okms.ovh.com";

/** A server of KMIP 1.4 that answers each Encrypt with `encrypted` and each Decrypt with `decrypted`. */
async function oddServer(encrypted: Partial<EncryptResponse>, decrypted = seed): Promise<EchoServer> {
  const version = parseVersion("1.4");
  return startEchoServer({
    onMessage: (message, socket) => {
      const request = decodeRequest(message);
      const items = request.items.map((item) => {
        if (item.operation === Operation.DiscoverVersions)
          return successItem(item, discoverVersionsOperation, { protocolVersions: [version] }, version);
        if (item.operation === Operation.Encrypt)
          return successItem(
            item,
            encryptOperation,
            { uniqueIdentifier: "key", data, ...encrypted },
            version,
          );
        return successItem(item, decryptOperation, { uniqueIdentifier: "key", data: decrypted }, version);
      });
      socket.write(encodeResponse({ version: request.version, timeStamp: 0n, items }));
    },
  });
}

async function withEncryptor<T>(server: EchoServer, use: (encryptor: Encryptor) => Promise<T>): Promise<T> {
  const encryptor = createKmipEncryptor({ servers: [parseKmipAddress(server.address)], key: { id: "key" } });
  encryptor.setTlsMaterial(await clientMaterial());
  try {
    return await use(encryptor);
  } finally {
    await encryptor.close();
    await server.close();
  }
}

describe("Encrypt gives data and tag where a server of KMIP 1.4", () => {
  const sealed = Buffer.concat([data, tag]);
  const table: [string, Partial<EncryptResponse>][] = [
    ["sends the tag in its field", { authenticatedEncryptionTag: tag }],
    ["sends the tag at the end of the data", { data: sealed }],
    ["sends the tag in both places", { data: sealed, authenticatedEncryptionTag: tag }],
  ];
  for (const [what, encrypted] of table)
    test(what, async () => {
      const { ciphertext } = await withEncryptor(await oddServer(encrypted), (encryptor) =>
        encryptor.encrypt(seed, "key", within()),
      );
      assert.deepEqual(Buffer.from(ciphertext), sealed);
    });
});

test("An IV without a byte in the reply is none: the one that was sent stays", async () => {
  const { annotations } = await withEncryptor(
    await oddServer({ authenticatedEncryptionTag: tag, ivCounterNonce: Buffer.alloc(0) }),
    (encryptor) => encryptor.encrypt(seed, "key", within()),
  );
  assert.equal(annotations[ivAnnotation]?.length, 12);
});

describe("Decrypt sends the tag where the server's Encrypt has put it:", () => {
  const table: [string, Partial<EncryptResponse>, { data: number; tag: number | undefined }][] = [
    ["in its field", { authenticatedEncryptionTag: tag }, { data: 32, tag: 16 }],
    ["at the end of the data", { data: Buffer.concat([data, tag]) }, { data: 48, tag: undefined }],
  ];
  for (const [what, encrypted, expected] of table)
    test(what, async () => {
      const server = await oddServer(encrypted);
      const { onMessage } = server;
      const decrypts: (typeof expected)[] = [];
      server.onMessage = (message, socket) => {
        const [item] = decodeRequest(message).items;
        if (item?.operation === Operation.Decrypt) {
          const asked = decryptOperation.request.decodeItems(item.payload, "");
          decrypts.push({ data: asked.data.length, tag: asked.authenticatedEncryptionTag?.length });
        }
        onMessage(message, socket);
      };
      await withEncryptor(server, async (encryptor) => {
        const wrapped = await encryptor.encrypt(seed, "key", within());
        await encryptor.decrypt({ ...wrapped, keyId: "key" }, within());
      });
      assert.deepEqual(decrypts, [expected]);
    });
});

test("Decrypt finds out where a server wants the tag before any Encrypt has shown it, and keeps to it", async () => {
  const server = await oddServer({});
  const { onMessage } = server;
  const decrypts: number[] = [];
  server.onMessage = (message, socket) => {
    const request = decodeRequest(message);
    const [item] = request.items;
    if (item?.operation !== Operation.Decrypt) return onMessage(message, socket);
    const { data: sent, authenticatedEncryptionTag } = decryptOperation.request.decodeItems(item.payload, "");
    decrypts.push(sent.length);
    if (authenticatedEncryptionTag === undefined) return onMessage(message, socket);
    const refusal = failureItem(item, ResultReason.CryptographicFailure, "");
    return void socket.write(encodeResponse({ version: request.version, items: [refusal] }));
  };
  const wrapped = {
    keyId: "key",
    ciphertext: Buffer.concat([data, tag]),
    annotations: { "alg.okms.ovh.com": Buffer.from("AES_GCM"), [ivAnnotation]: Buffer.alloc(12) },
  };
  await withEncryptor(server, async (encryptor) => {
    for (let call = 0; call < 2; call += 1)
      assert.deepEqual(Buffer.from(await encryptor.decrypt(wrapped, within())), seed);
  });
  assert.deepEqual(decrypts, [32, 48, 48]);
});

test("The IV is the server's where it has chosen one of its own", async () => {
  const theirs = Buffer.alloc(12, 1);
  const { annotations } = await withEncryptor(
    await oddServer({ authenticatedEncryptionTag: tag, ivCounterNonce: theirs }),
    (encryptor) => encryptor.encrypt(seed, "key", within()),
  );
  assert.deepEqual(Buffer.from(annotations[ivAnnotation] ?? []), theirs);
});

describe("Encrypt fails with KMIP_UNEXPECTED where a server", () => {
  const good = { authenticatedEncryptionTag: tag };
  const table: [string, Partial<EncryptResponse>][] = [
    ["sends no tag", {}],
    ["sends a tag of 12 bytes", { authenticatedEncryptionTag: tag.subarray(4) }],
    ["sends data shorter than the plaintext", { ...good, data: data.subarray(1) }],
    ["sends data longer than the plaintext", { ...good, data: Buffer.alloc(33) }],
    ["sends two tags that differ", { ...good, data: Buffer.alloc(48) }],
    ["has chosen an IV of 16 bytes", { ...good, ivCounterNonce: Buffer.alloc(16) }],
    ["has used another key", { ...good, uniqueIdentifier: "another" }],
  ];
  for (const [what, encrypted] of table)
    test(what, async () => {
      const server = await oddServer(encrypted);
      await withEncryptor(server, (encryptor) =>
        assert.rejects(encryptor.encrypt(seed, "key", within()), { code: "KMIP_UNEXPECTED" }),
      );
    });
});

test("an identifier that a server gives to an Encrypt is not told: it may be the plaintext", async () => {
  const uniqueIdentifier = Buffer.from(seed).toString("hex");
  await withEncryptor(await oddServer({ authenticatedEncryptionTag: tag, uniqueIdentifier }), (encryptor) =>
    assert.rejects(
      encryptor.encrypt(seed, "key", within()),
      (error) => error instanceof Error && error.message.endsWith("another key"),
    ),
  );
});

test("Decrypt fails with KMIP_UNEXPECTED where the plaintext is not of the ciphertext's length", async () => {
  const request = {
    keyId: "key",
    ciphertext: Buffer.concat([data, tag]),
    annotations: { "alg.okms.ovh.com": Buffer.from("AES_GCM"), [ivAnnotation]: Buffer.alloc(12) },
  };
  await withEncryptor(await oddServer({}, seed), (encryptor) => encryptor.decrypt(request, within()));
  await withEncryptor(await oddServer({}, seed.subarray(1)), (encryptor) =>
    assert.rejects(encryptor.decrypt(request, within()), { code: "KMIP_UNEXPECTED" }),
  );
});

/** The KMIP stack as a library: everything that a program of one's own needs is had from index.ts, and from there only. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  attribute,
  type Attribute,
  type AttributeName,
  BlockCipherMode,
  call,
  createKmipClient,
  createRequest,
  CryptographicAlgorithm,
  decodeItem,
  decodeRequest,
  decodeResponse,
  decryptOperation,
  dumpItem,
  type DumpOptions,
  encodeItem,
  encodeRequest,
  encodeResponse,
  encryptOperation,
  enumerationName,
  failureItem,
  type Item,
  ItemType,
  KmipResultError,
  locateOperation,
  parseVersion,
  payloadOf,
  ResultReason,
  successItem,
  Tag,
  tagByName,
  tagName,
  type TlsMaterial,
  TtlvError,
  type TtlvLimits,
} from "../../src/kmip/index.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { parseKmipAddress } from "../../src/net/address.ts";

const version = parseVersion("1.4");
const item: Item = { tag: Tag.Operation, type: ItemType.Enumeration, value: 0x1f };

test("The codec, its limits and its tables", () => {
  const limits: TtlvLimits = { maxMessageBytes: 8 };
  assert.deepEqual(decodeItem(encodeItem(item)), item);
  assert.throws(() => decodeItem(encodeItem(item), limits), TtlvError);
  const options: DumpOptions = { maxChars: 9 };
  assert.equal(dumpItem(item), "Operation: Encrypt");
  assert.equal(dumpItem(item, options), "Operation…");
  assert.deepEqual([tagName(Tag.Operation), tagByName("Operation")], ["Operation", Tag.Operation]);
  assert.equal(enumerationName(Tag.Operation, item.value as number), "Encrypt");
});

test("A server's side: a request is read, and answered item by item", () => {
  const name: AttributeName = "Object Type";
  const attributes: Attribute[] = [attribute(name, 2, version)];
  const request = createRequest(version, [
    call(locateOperation, { attributes }),
    call(locateOperation, { attributes: [] }),
  ]);
  const { items } = decodeRequest(encodeRequest(request));
  const [first, second] = items;
  assert.ok(first && second);
  const reply = decodeResponse(
    encodeResponse({
      version,
      timeStamp: 0n,
      items: [
        successItem(first, locateOperation, { uniqueIdentifiers: ["a"] }, version),
        failureItem(second, ResultReason.PermissionDenied, "no"),
      ],
    }),
  );
  assert.deepEqual(payloadOf(reply, request, 0, locateOperation).uniqueIdentifiers, ["a"]);
  assert.throws(() => payloadOf(reply, request, 1, locateOperation), KmipResultError);
});

test("A client's side: a value goes through Encrypt and Decrypt, and a refusal has its reason", async (t) => {
  const kms = await startDevKms({ rest: false });
  t.after(() => kms.close());
  const client = createKmipClient({ servers: [parseKmipAddress(kms.kmipAddress)] });
  t.after(() => client.close());
  const material: TlsMaterial = await loadTlsMaterial(kms.clientFiles);
  client.setTlsMaterial(material);
  const context = { signal: AbortSignal.timeout(5000) };
  const key = kms.keys.create({});
  const cryptographicParameters = {
    blockCipherMode: BlockCipherMode.GCM,
    cryptographicAlgorithm: CryptographicAlgorithm.AES,
    tagLength: 16,
  };
  const shared = { uniqueIdentifier: key.id, cryptographicParameters, ivCounterNonce: new Uint8Array(12) };
  const sealed = await client.send(
    () => ({
      calls: [call(encryptOperation, { ...shared, data: Uint8Array.of(1, 2, 3) })],
      read: (reply) => reply.payload(0, encryptOperation),
    }),
    context,
  );
  const decrypt = (data: Uint8Array): Promise<Uint8Array> =>
    client.send(
      () => ({
        calls: [
          call(decryptOperation, {
            ...shared,
            data,
            authenticatedEncryptionTag: sealed.authenticatedEncryptionTag,
          }),
        ],
        read: (reply) => reply.payload(0, decryptOperation).data,
      }),
      context,
    );
  assert.deepEqual(await decrypt(sealed.data), Uint8Array.of(1, 2, 3));
  await assert.rejects(decrypt(Uint8Array.of(9, 9, 9)), (error) => {
    assert.ok(error instanceof KmipResultError);
    assert.deepEqual([error.operation, error.reason], ["Decrypt", "Cryptographic Failure"]);
    return true;
  });
});

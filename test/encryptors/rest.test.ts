/** The REST encryptor against the embedded KMS: which key, what is sent, what is refused, and in what words. */
import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { createRestEncryptor } from "../../src/encryptors/rest.ts";
import { jweHeader } from "../devkms/jwe.ts";
import type { NewKey } from "../devkms/key-store.ts";
import { spellings } from "../support/spellings.ts";
import { callCount, seed, startKms, watch, withCode, within } from "../rest/harness.ts";
import { parseRestAddress } from "../../src/net/address.ts";

for (const http2 of [true, false]) {
  const name = http2 ? "HTTP/2" : "HTTP/1.1";
  test(`a seed encrypted over ${name} is a JWE of the key, without annotations, and decrypts to itself`, async (t) => {
    const kms = await startKms(t, { http2 });
    const key = kms.keys.create({ name: "kek" });
    const { encryptor, next } = watch(t, kms, { key: { id: key.id } });
    const wrapped = await encryptor.encrypt(seed, key.id, within(5_000));
    const text = Buffer.from(wrapped.ciphertext).toString("ascii");
    assert.deepEqual(jweHeader(text), { alg: "dir", enc: "A256GCM", kid: key.id });
    assert.deepEqual(wrapped.annotations, {});
    assert.deepEqual(await encryptor.decrypt({ ...wrapped, keyId: key.id }, within(5_000)), seed);
    const opened = await next((event) => event.type === "connection" && event.change === "opened");
    assert.match("message" in opened ? (opened.message ?? "") : "", new RegExp(`TLSv1.3, ${name}$`));
  });
}

test("a key found by its id is told with its name and length, for one request", async (t) => {
  const kms = await startKms(t);
  const key = kms.keys.create({ name: "kek" });
  const { encryptor } = watch(t, kms, { key: { id: key.id } });
  const info = await encryptor.resolveKey(within(5_000));
  assert.deepEqual(info, { keyId: key.id, name: "kek", lengthBits: 256 });
  assert.deepEqual([...kms.face.calls], [["getKey", 1]]);
});

test("a label is found among 200 keys over pages of 10, and costs calls no list afterwards", async (t) => {
  const kms = await startKms(t, { pageSize: 10 });
  for (let index = 0; index < 199; index += 1) kms.keys.create({ name: `other ${index}` });
  const key = kms.keys.create({ name: "kek" });
  const { encryptor } = watch(t, kms, { key: { label: "kek" } });
  assert.equal((await encryptor.resolveKey(within(5_000))).keyId, key.id);
  assert.equal(callCount(kms, "listKeys"), 20);
  assert.equal(callCount(kms, "getKey"), 0);
  for (let index = 0; index < 3; index += 1) await encryptor.encrypt(seed, key.id, within(5_000));
  assert.equal(callCount(kms, "listKeys"), 20);
});

test("a list of several pages is read once: the key found is read by its id while it has the label", async (t) => {
  const kms = await startKms(t, { pageSize: 10 });
  for (let index = 0; index < 15; index += 1) kms.keys.create({ name: `other ${index}` });
  const key = kms.keys.create({ name: "kek" });
  const { encryptor } = watch(t, kms, { key: { label: "kek" } });
  for (let probe = 0; probe < 5; probe += 1)
    assert.equal((await encryptor.resolveKey(within(5_000))).keyId, key.id);
  assert.deepEqual([callCount(kms, "listKeys"), callCount(kms, "getKey")], [2, 4]);
  kms.keys.update(key.id, { names: ["kek, retired"] });
  const fresh = kms.keys.create({ name: "kek" });
  assert.equal((await encryptor.resolveKey(within(5_000))).keyId, fresh.id);
  assert.deepEqual([callCount(kms, "listKeys"), callCount(kms, "getKey")], [4, 5]);
});

test("a label that moves to another key is followed, and values of the old key still decrypt", async (t) => {
  const kms = await startKms(t);
  const old = kms.keys.create({ name: "kek" });
  const { encryptor } = watch(t, kms, { key: { label: "kek" } });
  assert.equal((await encryptor.resolveKey(within(5_000))).keyId, old.id);
  const wrapped = await encryptor.encrypt(seed, old.id, within(5_000));
  kms.keys.update(old.id, { names: ["kek, retired"] });
  const fresh = kms.keys.create({ name: "kek" });
  assert.equal((await encryptor.resolveKey(within(5_000))).keyId, fresh.id);
  assert.deepEqual(await encryptor.decrypt({ ...wrapped, keyId: old.id }, within(5_000)), seed);
});

test("a label that no active key has is KEY_NOT_FOUND, a deactivated key of that name notwithstanding", async (t) => {
  const kms = await startKms(t);
  kms.keys.create({ name: "kek", state: "Deactivated" });
  const { encryptor } = watch(t, kms, { key: { label: "kek" } });
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("KEY_NOT_FOUND", /"kek"/));
});

test("a label of two active keys on different pages is KEY_AMBIGUOUS, with both ids in the details", async (t) => {
  const kms = await startKms(t, { pageSize: 2 });
  const first = kms.keys.create({ name: "kek" });
  for (let index = 0; index < 3; index += 1) kms.keys.create({ name: "other" });
  const second = kms.keys.create({ name: "kek" });
  const { encryptor } = watch(t, kms, { key: { label: "kek" } });
  await assert.rejects(encryptor.resolveKey(within(5_000)), (error: Error & { details?: unknown }) => {
    assert.deepEqual(error.details, { ids: `${first.id}, ${second.id}` });
    return withCode("KEY_AMBIGUOUS")(error);
  });
});

const unfitKeys: readonly { what: string; key: NewKey; code: string; message: RegExp }[] = [
  {
    what: "of type RSA",
    key: { algorithm: "RSA", objectType: "PrivateKey" },
    code: "KEY_UNUSABLE",
    message: /type "RSA", not oct/,
  },
  {
    what: "for HMAC",
    key: { algorithm: "HMAC_SHA256" },
    code: "KEY_UNUSABLE",
    message: /not for encrypt/,
  },
  { what: "for Encrypt only", key: { usage: ["Encrypt"] }, code: "KEY_UNUSABLE", message: /not for decrypt/ },
  { what: "for Decrypt only", key: { usage: ["Decrypt"] }, code: "KEY_UNUSABLE", message: /not for encrypt/ },
  {
    what: "that was deactivated",
    key: { state: "Deactivated" },
    code: "KEY_NOT_ACTIVE",
    message: /"deactivated"/,
  },
  {
    what: "that was compromised",
    key: { state: "Compromised" },
    code: "KEY_NOT_ACTIVE",
    message: /"compromised"/,
  },
  {
    what: "that is not active yet",
    key: { state: "PreActive" },
    code: "KEY_NOT_ACTIVE",
    message: /"preactive"/,
  },
  {
    what: "that was destroyed",
    key: { state: "Destroyed" },
    code: "KEY_NOT_FOUND",
    message: /no service key/,
  },
];

for (const { what, key: options, code, message } of unfitKeys)
  test(`a key ${what} is refused by resolveKey as ${code}`, async (t) => {
    const kms = await startKms(t);
    const key = kms.keys.create(options);
    const { encryptor } = watch(t, kms, { key: { id: key.id } });
    await assert.rejects(encryptor.resolveKey(within(5_000)), withCode(code, message));
  });

test("a key that the KMS does not know is KEY_NOT_FOUND, by resolveKey and by Decrypt", async (t) => {
  const kms = await startKms(t);
  const { encryptor } = watch(t, kms, { key: { id: randomUUID() } });
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("KEY_NOT_FOUND", /--okms-id/));
  const key = kms.keys.create();
  const wrapped = await encryptor.encrypt(seed, key.id, within(5_000));
  const unknown = encryptor.decrypt({ ...wrapped, keyId: randomUUID() }, within(5_000));
  await assert.rejects(unknown, withCode("KEY_NOT_FOUND"));
});

test("a key that this client may not use is KEY_ACCESS_DENIED by resolveKey, and 403 by Encrypt", async (t) => {
  const kms = await startKms(t);
  const key = kms.keys.create();
  kms.faults.deniedKeys.add(key.id);
  const { encryptor } = watch(t, kms, { key: { id: key.id } });
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("KEY_ACCESS_DENIED", /status 403/));
  await assert.rejects(
    encryptor.encrypt(seed, key.id, within(5_000)),
    withCode("REST_STATUS", /authorization/),
  );
});

test("a client that may not list is told so when it looks for a label", async (t) => {
  const kms = await startKms(t);
  const { encryptor } = watch(t, kms, { key: { label: "kek" } });
  kms.faults.rest = { status: 401 };
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("KEY_ACCESS_DENIED", /list.*401/));
});

test("another domain than the KMS's is KEY_NOT_FOUND and names --okms-id", async (t) => {
  const kms = await startKms(t);
  kms.keys.create({ name: "kek" });
  const { encryptor } = watch(t, kms, { key: { label: "kek" }, okmsId: randomUUID() });
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("KEY_NOT_FOUND", /--okms-id/));
});

const jweParts = ["header", "encrypted key", "IV", "ciphertext", "tag"];
for (const [index, part] of jweParts.entries())
  test(`a JWE whose ${part} was changed is REQUEST_CIPHERTEXT_INVALID, and the next call works`, async (t) => {
    const kms = await startKms(t);
    const key = kms.keys.create();
    const { encryptor } = watch(t, kms, { key: { id: key.id } });
    const wrapped = await encryptor.encrypt(seed, key.id, within(5_000));
    const parts = Buffer.from(wrapped.ciphertext).toString().split(".");
    const changed = parts.with(
      index,
      `${parts[index]?.startsWith("A") ? "B" : "A"}${parts[index]?.slice(1)}`,
    );
    const ciphertext = Buffer.from(changed.join("."));
    await assert.rejects(
      encryptor.decrypt({ ...wrapped, ciphertext, keyId: key.id }, within(5_000)),
      withCode("REQUEST_CIPHERTEXT_INVALID"),
    );
    assert.deepEqual(await encryptor.decrypt({ ...wrapped, keyId: key.id }, within(5_000)), seed);
  });

test("a JWE of one key is refused under another", async (t) => {
  const kms = await startKms(t);
  const [mine, other] = [kms.keys.create(), kms.keys.create()];
  const { encryptor } = watch(t, kms, { key: { id: mine.id } });
  const wrapped = await encryptor.encrypt(seed, mine.id, within(5_000));
  await assert.rejects(
    encryptor.decrypt({ ...wrapped, keyId: other.id }, within(5_000)),
    withCode("REQUEST_CIPHERTEXT_INVALID"),
  );
});

const jwe = "eyJhbGciOiJkaXIifQ..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA";
const impossible: readonly {
  what: string;
  ciphertext?: string | Uint8Array;
  keyId?: string;
  code: string;
}[] = [
  { what: "an empty ciphertext", ciphertext: "", code: "REQUEST_CIPHERTEXT_EMPTY" },
  {
    what: "a ciphertext of 1025 bytes",
    ciphertext: jwe.padEnd(1025, "A"),
    code: "REQUEST_CIPHERTEXT_TOO_LONG",
  },
  { what: "a JWE of four parts", ciphertext: "a..b.c", code: "REQUEST_CIPHERTEXT_INVALID" },
  { what: "a JWE of six parts", ciphertext: "a..b.c.d.e", code: "REQUEST_CIPHERTEXT_INVALID" },
  { what: "a JWE with padding", ciphertext: `${jwe}==`, code: "REQUEST_CIPHERTEXT_INVALID" },
  { what: "a JWE with a line end", ciphertext: `${jwe}\n`, code: "REQUEST_CIPHERTEXT_INVALID" },
  { what: "a JWE with a quote", ciphertext: `${jwe}","x":"`, code: "REQUEST_CIPHERTEXT_INVALID" },
  {
    what: "a ciphertext of KMIP's",
    ciphertext: new Uint8Array(48).fill(0xe5),
    code: "REQUEST_CIPHERTEXT_INVALID",
  },
  { what: "a key_id that is no UUID", keyId: "../../secrets", code: "REQUEST_KEY_ID_INVALID" },
  { what: "an empty key_id", keyId: "", code: "REQUEST_KEY_ID_INVALID" },
  { what: "a key_id with a line end", keyId: `${randomUUID()}\n`, code: "REQUEST_KEY_ID_INVALID" },
];

for (const { what, ciphertext = jwe, keyId, code } of impossible)
  test(`Decrypt with ${what} is ${code}, and nothing is sent`, async (t) => {
    const kms = await startKms(t);
    const { encryptor, events } = watch(t, kms, { key: { id: randomUUID() } });
    const request = { ciphertext: Buffer.from(ciphertext as Uint8Array), annotations: {} };
    await assert.rejects(
      encryptor.decrypt({ ...request, keyId: keyId ?? randomUUID() }, within(5_000)),
      withCode(code),
    );
    assert.deepEqual(events, []);
    assert.equal(kms.face.connections(), 0);
  });

test("a domain, a key and a stored key_id are found however their UUIDs are spelled; key_id is as the API has it", async (t) => {
  const kms = await startKms(t);
  const { id } = kms.keys.create({ name: "kek" });
  const okmsId = kms.okmsId.toUpperCase();
  const { encryptor } = watch(t, kms, { key: { id: id.toUpperCase() }, okmsId });
  assert.equal((await encryptor.resolveKey(within(5_000))).keyId, id);
  const wrapped = await encryptor.encrypt(seed, id.toUpperCase(), within(5_000));
  for (const keyId of [id, id.toUpperCase(), `urn:uuid:${id}`, `{${id}}`, id.replaceAll("-", "")])
    assert.deepEqual(new Uint8Array(await encryptor.decrypt({ ...wrapped, keyId }, within(5_000))), seed);
});

test("Encrypt under a key_id that is no UUID sends nothing", async (t) => {
  const kms = await startKms(t);
  const { encryptor, events } = watch(t, kms, { key: { label: "kek" } });
  await assert.rejects(encryptor.encrypt(seed, "a/b", within(5_000)), withCode("REQUEST_KEY_ID_INVALID"));
  assert.deepEqual(events, []);
});

test("a JWE that kube-apiserver would not take is RESPONSE_TOO_LARGE and says how large it is", async (t) => {
  const kms = await startKms(t);
  const key = kms.keys.create();
  const { encryptor } = watch(t, kms, { key: { id: key.id } });
  await assert.rejects(
    encryptor.encrypt(new Uint8Array(800), key.id, within(5_000)),
    withCode("RESPONSE_TOO_LARGE", /\d{4} bytes; kube-apiserver takes 1024/),
  );
});

test("unknown annotations do not keep a value from being decrypted", async (t) => {
  const kms = await startKms(t);
  const key = kms.keys.create();
  const { encryptor } = watch(t, kms, { key: { id: key.id } });
  const { ciphertext } = await encryptor.encrypt(seed, key.id, within(5_000));
  const annotations = { "later.example.com": new Uint8Array([1]) };
  assert.deepEqual(await encryptor.decrypt({ ciphertext, annotations, keyId: key.id }, within(5_000)), seed);
});

const badOptions: readonly { what: string; options: object; message: RegExp }[] = [
  { what: "a domain that is no UUID", options: { okmsId: "mine" }, message: /--okms-id/ },
  { what: "a key id that is no UUID", options: { key: { id: "kek" } }, message: /--encryption-key-id/ },
];

for (const { what, options, message } of badOptions)
  test(`an encryptor with ${what} can't be made`, () => {
    const good = { servers: [parseRestAddress("https://kms")], key: { label: "kek" }, okmsId: randomUUID() };
    assert.throws(() => createRestEncryptor({ ...good, ...options }), withCode("CONFIG", message));
  });

for (const [what, change, code, message] of [
  ["is not active", { state: "Deactivated" }, "KEY_NOT_ACTIVE", /in state "deactivated"/],
  ["is not for encrypt", { usage: ["Decrypt"] }, "KEY_UNUSABLE", /not for encrypt/],
] as const)
  test(`an Encrypt that is denied because the key ${what} says so, and not that the client may not`, async (t) => {
    const kms = await startKms(t);
    const key = kms.keys.create({ name: "kek" });
    const { encryptor } = watch(t, kms, { key: { label: "kek" } });
    await encryptor.encrypt(seed, key.id, within(5_000));
    kms.keys.update(key.id, change);
    await assert.rejects(encryptor.encrypt(seed, key.id, within(5_000)), withCode(code, message));
  });

for (const [what, length] of [
  ["shorter", 31],
  ["longer", 33],
] as const)
  test(`a plaintext that is ${what} than the JWE allows is REST_BODY`, async (t) => {
    const kms = await startKms(t);
    const key = kms.keys.create();
    const { encryptor } = watch(t, kms, { key: { id: key.id } });
    const wrapped = await encryptor.encrypt(seed, key.id, within(5_000));
    kms.faults.decryptsTo = Buffer.alloc(length, 1);
    await assert.rejects(encryptor.decrypt({ ...wrapped, keyId: key.id }, within(5_000)), {
      code: "REST_BODY",
      message: `decrypt: the KMS gave ${length} bytes for a JWE of 32`,
    });
  });

const digest = createHash("sha256").update("seed").digest();

describe("an API that quotes the plaintext leaves nothing of it in the failure, where it is spelled", () => {
  for (const [how, spell] of spellings)
    test(how, async (t) => {
      const kms = await startKms(t);
      const key = kms.keys.create();
      kms.faults.refuse = { reason: "InvalidField", message: `bad data ${spell(digest)}, sorry` };
      const { encryptor } = watch(t, kms, { key: { id: key.id } });
      await assert.rejects(encryptor.encrypt(seed, key.id, within(5_000)), (error) => {
        const said = /: bad data (.*)$/su.exec(String(error))?.[1] ?? assert.fail(String(error));
        assert.match(said, /^(?:<Buffer )?(?:\[\d+ characters\]|[^\p{L}\p{N}])+(?:sorry)?$/u);
        return true;
      });
    });
});

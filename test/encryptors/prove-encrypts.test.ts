/** Each Encrypt is proved by a Decrypt before it is handed out, over both protocols. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Encryptor, KmsEvent } from "../../src/encryptors/encryptor.ts";
import { createEncryptor } from "../../src/encryptors/index.ts";
import { proveEncrypts } from "../../src/encryptors/prove-encrypts.ts";
import { parseKmipAddress, parseRestAddress } from "../../src/net/address.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { encryptorFor, within } from "./kmip-harness.ts";

const seed = Buffer.alloc(32, 7);

interface Bench {
  readonly kms: DevKms;
  readonly keyId: string;
  readonly encryptor: Encryptor;
  readonly operations: () => string[];
}

async function benchFor(t: TestContext, protocol: "kmip" | "rest"): Promise<Bench> {
  const kms = await startDevKms();
  t.after(() => kms.close());
  const { id } = kms.keys.create();
  const events: KmsEvent[] = [];
  const server = protocol === "kmip" ? parseKmipAddress(kms.kmipAddress) : parseRestAddress(kms.restUrl);
  const config = { protocol, servers: [server], key: { id }, okmsId: kms.okmsId, kmipConnections: 1 };
  const encryptor = createEncryptor(config, (event) => events.push(event));
  t.after(() => encryptor.close());
  encryptor.setTlsMaterial(await loadTlsMaterial(kms.clientFiles));
  const operations = (): string[] =>
    events.flatMap((event) =>
      event.type === "exchange" && event.operation !== "DiscoverVersions"
        ? [event.operation.toLowerCase()]
        : [],
    );
  return { kms, keyId: id, encryptor, operations };
}

for (const protocol of ["kmip", "rest"] as const) {
  test(`an Encrypt over ${protocol} costs one Decrypt more`, async (t) => {
    const { encryptor, keyId, operations } = await benchFor(t, protocol);
    const wrapped = await encryptor.encrypt(seed, keyId, within());
    assert.deepEqual(operations(), ["encrypt", "decrypt"]);
    assert.deepEqual(Buffer.from(await encryptor.decrypt({ ...wrapped, keyId }, within())), seed);
  });

  test(`an Encrypt over ${protocol} that may not be decrypted is not handed out`, async (t) => {
    const { encryptor, keyId, kms } = await benchFor(t, protocol);
    kms.faults.refuse = { operation: "Decrypt", reason: "PermissionDenied" };
    await assert.rejects(encryptor.encrypt(seed, keyId, within()));
  });
}

test("an Encrypt over KMIP whose bytes the KMS can't read again is KEY_SELF_TEST", async (t) => {
  const { encryptor, keyId, kms } = await benchFor(t, "kmip");
  kms.faults.refuse = { operation: "Decrypt", reason: "CryptographicFailure" };
  await assert.rejects(encryptor.encrypt(seed, keyId, within()), {
    code: "KEY_SELF_TEST",
    message: "the KMS does not decrypt what it has just encrypted",
  });
});

test("an Encrypt that fails its proof once is made anew", async (t) => {
  const { keyId, kms } = await benchFor(t, "kmip");
  await using plain = await encryptorFor(kms, { id: keyId });
  let decrypts = 0;
  const proving = proveEncrypts({
    ...plain,
    decrypt: (...given) => {
      decrypts += 1;
      kms.faults.decryptsTo = decrypts === 1 ? Buffer.alloc(32) : undefined;
      return plain.decrypt(...given);
    },
  });
  const wrapped = await proving.encrypt(seed, keyId, within());
  assert.equal(decrypts, 2);
  assert.deepEqual(Buffer.from(await plain.decrypt({ ...wrapped, keyId }, within())), seed);
});

for (const protocol of ["kmip", "rest"] as const)
  test(`an Encrypt over ${protocol} that never decrypts to its plaintext is KEY_SELF_TEST`, async (t) => {
    const { encryptor, keyId, kms } = await benchFor(t, protocol);
    kms.faults.decryptsTo = Buffer.alloc(32);
    await assert.rejects(encryptor.encrypt(seed, keyId, within()), {
      code: "KEY_SELF_TEST",
      message: "Decrypt gave other bytes than Encrypt was given",
    });
  });

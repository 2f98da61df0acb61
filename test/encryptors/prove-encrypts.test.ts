/** Each Encrypt is proved by a Decrypt before it is handed out, over both protocols. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { Encryptor, KmsEvent } from "../../src/encryptors/encryptor.ts";
import { createEncryptor } from "../../src/encryptors/index.ts";
import { createKmipEncryptor } from "../../src/encryptors/kmip.ts";
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
  const encryptor = await createEncryptor(config, (event) => events.push(event));
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

interface Pair {
  readonly first: DevKms;
  readonly second: DevKms;
  readonly keyId: string;
  readonly plain: Encryptor;
  /** As `encrypt 1`. */
  readonly exchanges: () => string[];
}

async function pairFor(t: TestContext, isShared: boolean): Promise<Pair> {
  const first = await startDevKms({ rest: false });
  const { authority, keys } = first;
  const second = await startDevKms({ rest: false, authority, ...(isShared && { keys }) });
  t.after(() => Promise.all([first.close(), second.close()]));
  const exchanges: string[] = [];
  const plain = createKmipEncryptor({
    servers: [first, second].map(({ kmipAddress }) => parseKmipAddress(kmipAddress)),
    key: { id: "unused" },
    onEvent: (event) => {
      if (event.type !== "exchange" || event.operation === "DiscoverVersions" || event.endpoint === "")
        return;
      exchanges.push(`${event.operation} ${event.endpoint === first.kmipAddress ? 1 : 2} ${event.outcome}`);
    },
  });
  t.after(() => plain.close());
  plain.setTlsMaterial(await loadTlsMaterial(first.clientFiles));
  return { first, second, keyId: keys.create().id, plain, exchanges: () => exchanges };
}

/** The first server is lost once it has encrypted. */
const losing = ({ plain, first }: Pair): Encryptor => ({
  ...plain,
  encrypt: async (...given) => {
    const wrapped = await plain.encrypt(...given);
    await first.stop();
    return wrapped;
  },
});

describe("with two servers the proof is asked of the one that encrypted:", () => {
  test("although another one is active", async (t) => {
    const { plain, second, keyId, exchanges } = await pairFor(t, true);
    const proving = proveEncrypts(plain);
    await proving.encrypt(seed, keyId, within());
    await proving.encrypt(seed, keyId, { ...within(), server: second.kmipAddress });
    await proving.encrypt(seed, keyId, within());
    assert.deepEqual(
      exchanges(),
      ["Encrypt 1", "Decrypt 1", "Encrypt 2", "Decrypt 2", "Encrypt 1", "Decrypt 1"].map(
        (one) => `${one} ok`,
      ),
    );
  });

  test("of another one where that is lost meanwhile, whose success proves more", async (t) => {
    const pair = await pairFor(t, true);
    await proveEncrypts(losing(pair)).encrypt(seed, pair.keyId, within());
    assert.deepEqual(
      pair.exchanges().filter((one) => one.endsWith("ok")),
      ["Encrypt 1 ok", "Decrypt 2 ok"],
    );
  });

  test("whose refusal proves nothing: the other one, without the key as yet, is asked to encrypt, and says so", async (t) => {
    const pair = await pairFor(t, false);
    await assert.rejects(proveEncrypts(losing(pair)).encrypt(seed, pair.keyId, within()), {
      code: "KEY_NOT_FOUND",
    });
    assert.deepEqual(
      pair.exchanges().filter((one) => !one.includes("CLOSED")),
      ["Encrypt 1 ok", "Decrypt 2 KMIP_RESULT", "Encrypt 2 KMIP_RESULT"],
    );
  });
});

/** The KMIP driver before servers that want lengths, the tag or a Credential in their own way, over the embedded KMS. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import type { Encryptor } from "../../src/encryptors/encryptor.ts";
import type { KmipCredential } from "../../src/encryptors/kmip-credential.ts";
import { createKmipEncryptor } from "../../src/encryptors/kmip.ts";
import { parseKmipAddress } from "../../src/net/address.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import type { WantedLengths } from "../devkms/kmip-quirks.ts";
import { clientMaterial, startEchoServer } from "../kmip/echo-server.ts";
import { spellings } from "../support/spellings.ts";
import { encryptorFor, within } from "./kmip-harness.ts";

let kms: DevKms;
const seed = createHash("sha256").update("seed").digest();

before(async () => {
  kms = await startDevKms({ rest: false });
});
afterEach(() => {
  resetFaults(kms.faults);
  for (const { id } of kms.keys.list()) kms.keys.remove(id);
});
after(() => kms.close());

const lengths: readonly WantedLengths[] = ["bytes", "absent", "bits", "IV in bits", "tag in bits"];

for (const wanted of lengths)
  for (const tagInData of [false, true])
    describe(`a server that takes lengths as ${wanted}, and the tag ${tagInData ? "in the data" : "in its field"}`, () => {
      test("is found out by the first Encrypt, and asked so from then on", async () => {
        const { id } = kms.keys.create();
        Object.assign(kms.faults.kmip, { lengths: wanted, tagInData });
        await using encryptor = await encryptorFor(kms, { id });
        const attempts = lengths.indexOf(wanted) + 1;
        for (const expected of [attempts, 1, 1]) {
          const wrapped = await encryptor.encrypt(seed, id, within());
          assert.equal(encryptor.exchanges().length, expected);
          const back = await encryptor.decrypt({ ...wrapped, keyId: id }, within());
          assert.deepEqual(Buffer.from(back), seed);
          assert.equal(encryptor.exchanges().length, 1);
        }
      });

      test("is found out by a Decrypt that comes before any Encrypt", async () => {
        const { id } = kms.keys.create();
        await using writer = await encryptorFor(kms, { id });
        const wrapped = await writer.encrypt(seed, id, within());
        Object.assign(kms.faults.kmip, { lengths: wanted, tagInData });
        await using reader = await encryptorFor(kms, { id });
        for (let call = 0; call < 2; call += 1) {
          const back = await reader.decrypt({ ...wrapped, keyId: id }, within());
          assert.deepEqual(Buffer.from(back), seed);
          if (call > 0) assert.equal(reader.exchanges().length, 1);
          else reader.exchanges();
        }
      });
    });

test("a ciphertext that was changed costs two requests at most, once it is known what the server wants", async () => {
  const { id } = kms.keys.create();
  await using encryptor = await encryptorFor(kms, { id });
  const wrapped = await encryptor.encrypt(seed, id, within());
  const ciphertext = Buffer.from(wrapped.ciphertext);
  ciphertext[0] = (ciphertext[0] ?? 0) ^ 1;
  await encryptor.decrypt({ ...wrapped, keyId: id }, within());
  encryptor.exchanges();
  await assert.rejects(encryptor.decrypt({ ...wrapped, ciphertext, keyId: id }, within()), {
    code: "REQUEST_CIPHERTEXT_INVALID",
  });
  assert.ok(encryptor.exchanges().length <= 2);
});

test("an Encrypt that is refused in every form fails with the first refusal, and the next one is one request", async () => {
  const { id } = kms.keys.create();
  await using encryptor = await encryptorFor(kms, { id });
  kms.faults.refuse = { operation: "Encrypt", reason: "InvalidField", message: "never" };
  for (const expected of [5, 1]) {
    await assert.rejects(encryptor.encrypt(seed, id, within()), {
      code: "KMIP_RESULT",
      refusal: { class: "other", name: "Invalid Field" },
    });
    assert.equal(encryptor.exchanges().length, expected);
  }
});

test("what a server wants is found out anew where another takes its place", async () => {
  const { id } = kms.keys.create();
  await using encryptor = await encryptorFor(kms, { id });
  for (const wanted of ["bytes", "bits", "absent"] as const) {
    kms.faults.kmip.lengths = wanted;
    const wrapped = await encryptor.encrypt(seed, id, within());
    assert.deepEqual(Buffer.from(await encryptor.decrypt({ ...wrapped, keyId: id }, within())), seed);
  }
});

test("two servers that want different lengths: calls go on without a failure while one and then the other is away", async (t) => {
  const { id } = kms.keys.create();
  const other = await startDevKms({ rest: false, keys: kms.keys, authority: kms.authority });
  t.after(() => other.close());
  Object.assign(kms.faults.kmip, { lengths: "bits" });
  Object.assign(other.faults.kmip, { lengths: "absent", tagInData: true });
  const known = new Map<string, string>();
  const active = { name: "" };
  const encryptor = createKmipEncryptor({
    servers: [kms.kmipAddress, other.kmipAddress].map((address) => parseKmipAddress(address)),
    key: { id },
    checkMs: 50,
    onEvent: (event) => {
      if (event.type === "learned") known.set(event.endpoint, event.message);
      if (event.type === "endpoint" && event.inUse) active.name = event.endpoint;
    },
  });
  t.after(() => encryptor.close());
  encryptor.setTlsMaterial(await loadTlsMaterial(kms.clientFiles));

  const roundTrip = async (): Promise<void> => {
    const wrapped = await encryptor.encrypt(seed, id, within());
    assert.deepEqual(Buffer.from(await encryptor.decrypt({ ...wrapped, keyId: id }, within())), seed);
  };
  const callers = { isEnded: false, calls: 0 };
  const load = Promise.all(
    Array.from({ length: 4 }, async () => {
      for (; !callers.isEnded; callers.calls += 1) await roundTrip();
    }),
  );
  const untilActive = async (server: DevKms): Promise<void> => {
    while (active.name !== server.kmipAddress) await roundTrip();
    for (const until = callers.calls + 20; callers.calls < until;) await roundTrip();
  };
  await untilActive(kms);
  for (let turn = 0; turn < 3; turn += 1) {
    await kms.stop();
    await untilActive(other);
    await kms.start();
    await untilActive(kms);
  }
  await other.stop();
  await roundTrip();
  callers.isEnded = true;
  await load;
  assert.match(known.get(kms.kmipAddress) ?? "", /\blengths=bits\b.*\btag=field\b/);
  assert.match(known.get(other.kmipAddress) ?? "", /\blengths=absent\b.*\btag=data\b/);
});

test("what a server wants is told, and forgotten with the TLS files", async () => {
  const { id } = kms.keys.create();
  await using encryptor = await encryptorFor(kms, { id });
  const known = (): string | undefined =>
    encryptor.events.findLast((event) => event.type === "learned")?.message;
  Object.assign(kms.faults.kmip, { lengths: "bits" });
  await encryptor.encrypt(seed, id, within());
  assert.equal(known(), "version=1.4 lengths=bits tag=field");
  encryptor.setTlsMaterial(await loadTlsMaterial(kms.clientFiles));
  assert.equal(known(), "");
});

/** An encryptor with a credential, and what it told in its events. */
async function encryptorWith(
  credential: KmipCredential | undefined,
  id: string,
): Promise<{ readonly encryptor: Encryptor; readonly dumps: readonly string[] }> {
  const dumps: string[] = [];
  const encryptor = createKmipEncryptor({
    servers: [parseKmipAddress(kms.kmipAddress)],
    key: { id },
    credential,
    onEvent: (event) => {
      if (event.type === "message") dumps.push(event.dump());
      else if ("message" in event) dumps.push(event.message ?? "");
    },
  });
  encryptor.setTlsMaterial(await loadTlsMaterial(kms.clientFiles));
  return { encryptor, dumps };
}

describe("a server that wants a user name and a password", () => {
  const credential = { username: "okms", password: "hunter-2" };
  test("gets them in each request, and no dump shows them", async () => {
    const { id } = kms.keys.create();
    Object.assign(kms.faults.kmip, { credential, discoversWithoutCredential: true });
    const { encryptor, dumps } = await encryptorWith(credential, id);
    assert.equal((await encryptor.resolveKey(within())).keyId, id);
    const wrapped = await encryptor.encrypt(seed, id, within());
    assert.deepEqual(Buffer.from(await encryptor.decrypt({ ...wrapped, keyId: id }, within())), seed);
    await encryptor.close();
    assert.ok(dumps.some((dump) => dump.includes("Credential Value: <")));
    for (const dump of dumps) assert.ok(!dump.includes("hunter") && !dump.includes('"okms"'), dump);
  });

  for (const discoversWithoutCredential of [true, false])
    test(`and gets none says so, ${discoversWithoutCredential ? "in the first request of the key" : "in the first message"}`, async () => {
      const { id } = kms.keys.create();
      Object.assign(kms.faults.kmip, { credential, discoversWithoutCredential });
      const { encryptor } = await encryptorWith(undefined, id);
      await assert.rejects(encryptor.resolveKey(within()), {
        code: "KEY_ACCESS_DENIED",
        message: /requires a user name and password, --kmip-username and --kmip-password-file/,
      });
      await encryptor.close();
    });

  test("gets the password that is valid now", async () => {
    const { id } = kms.keys.create();
    let password = "before";
    const changing = {
      username: credential.username,
      get password() {
        return password;
      },
    };
    const { encryptor } = await encryptorWith(changing, id);
    for (const next of ["before", "after"]) {
      password = next;
      Object.assign(kms.faults.kmip, {
        credential: { ...credential, password: next },
        discoversWithoutCredential: true,
      });
      assert.equal((await encryptor.resolveKey(within())).keyId, id);
    }
    await encryptor.close();
  });

  test("and gets others says so", async () => {
    const { id } = kms.keys.create();
    Object.assign(kms.faults.kmip, { credential, discoversWithoutCredential: true });
    const { encryptor } = await encryptorWith({ ...credential, password: "wrong" }, id);
    await assert.rejects(encryptor.resolveKey(within()), { code: "KEY_ACCESS_DENIED" });
    await encryptor.close();
  });
});

test("a reply over 64 KiB is refused at its header, whatever the library takes by default", async () => {
  await using server = await startEchoServer({
    onMessage: (_message, socket) => {
      // A Response Message of 1 MiB, of which no more than the header is ever sent.
      socket.write(Buffer.from("42007b01000ffff8", "hex"));
    },
  });
  const encryptor = createKmipEncryptor({ servers: [parseKmipAddress(server.address)], key: { id: "key" } });
  encryptor.setTlsMaterial(await clientMaterial());
  await assert.rejects(encryptor.resolveKey(within()), {
    code: "KMIP_FRAME_TOO_LARGE",
    message: /over 65536/,
  });
  await encryptor.close();
});

test("replies that have slipped are noticed: no plaintext of another call is given out", async () => {
  const { id } = kms.keys.create();
  await using encryptor = await encryptorFor(kms, { id });
  const first = await encryptor.encrypt(Buffer.alloc(32, 1), id, within());
  const second = await encryptor.encrypt(Buffer.alloc(32, 2), id, within());
  kms.faults.kmip.slips = true;
  for (const [wrapped, expected] of [
    [first, 1],
    [second, 2],
    [first, 1],
  ] as const) {
    const back = await encryptor.decrypt({ ...wrapped, keyId: id }, within()).catch(() => undefined);
    if (back !== undefined) assert.deepEqual(Buffer.from(back), Buffer.alloc(32, expected));
  }
});

describe("a server that quotes the plaintext leaves nothing of it in the failure, where it is spelled", () => {
  for (const [how, spell] of spellings)
    test(how, async () => {
      const { id } = kms.keys.create();
      const message = `bad data ${spell(seed)}, sorry`;
      kms.faults.refuse = { operation: "Encrypt", reason: "PermissionDenied", message };
      await using encryptor = await encryptorFor(kms, { id });
      await assert.rejects(encryptor.encrypt(seed, id, within()), (error) => {
        const said = /: bad data (.*)\)$/su.exec(String(error))?.[1] ?? assert.fail(String(error));
        assert.match(said, /^(?:<Buffer )?(?:\[\d+ characters\]|[^\p{L}\p{N}])+(?:sorry)?$/u);
        return true;
      });
    });
});

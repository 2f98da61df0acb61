/**
 * What every encryptor must do, whatever it speaks: one suite, run over each of them before the embedded KMS.
 * A subject makes the encryptor; the suite owns the KMS behind it, its keys and its faults.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import type { CallContext, Encryptor, KeySelector } from "../../src/encryptors/encryptor.ts";
import { type ErrorCode, ProviderError } from "../../src/errors.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import type { NewKey, StoredKey } from "../devkms/key-store.ts";

/** One encryptor and how it is reached. */
export interface Subject {
  readonly name: string;
  startKms(): Promise<DevKms>;
  createEncryptor(kms: DevKms, key: KeySelector): Promise<Encryptor>;
  /** An id that no key has, in the form of the KMS. */
  readonly unknownId: string;
}

/** A call's bounds: so many ms, and what its caller may abort it with. */
function within(ms: number, abort = new AbortController()): CallContext {
  const timer = setTimeout(() => abort.abort(new ProviderError("CANCELED", "the time is over")), ms);
  timer.unref();
  return { signal: abort.signal, deadline: performance.now() + ms };
}

/** Fails with one of `codes`, and never with anything but a ProviderError. */
async function fails(work: Promise<unknown>, ...codes: readonly ErrorCode[]): Promise<ProviderError> {
  const error: unknown = await work.then(
    () => assert.fail("succeeded"),
    (failure: unknown) => failure,
  );
  assert.ok(error instanceof ProviderError, String(error));
  assert.ok(codes.includes(error.code), `${error.code} is none of ${codes.join(", ")}: ${error.message}`);
  return error;
}

/** A seed there and back. */
async function roundTrip(encryptor: Encryptor, keyId: string): Promise<void> {
  const plaintext = randomBytes(32);
  const wrapped = await encryptor.encrypt(plaintext, keyId, within(10_000));
  const unwrapped = await encryptor.decrypt({ ...wrapped, keyId }, within(10_000));
  assert.deepEqual(Buffer.from(unwrapped), plaintext);
}

/** Declares the suite for one subject. */
export function contract(subject: Subject): void {
  describe(subject.name, () => {
    let kms: DevKms;
    let key: StoredKey;
    let encryptor: Encryptor;
    const opened = new Set<Encryptor>();
    let labels = 0;

    async function open(selector: KeySelector): Promise<Encryptor> {
      const made = await subject.createEncryptor(kms, selector);
      opened.add(made);
      made.setTlsMaterial(await loadTlsMaterial(kms.clientFiles));
      return made;
    }
    /** An encryptor for a label of its own that leads to each of `keys`. */
    async function labelled(...keys: readonly NewKey[]): Promise<[Encryptor, StoredKey[], string]> {
      const name = `label-${(labels += 1)}`;
      const made = keys.map((each) => kms.keys.create({ ...each, name }));
      return [await open({ label: name }), made, name];
    }

    before(async () => {
      kms = await subject.startKms();
      key = kms.keys.create({ name: "contract" });
      encryptor = await open({ id: key.id });
    });
    afterEach(() => resetFaults(kms.faults));
    after(async () => {
      await Promise.all([...opened].map((each) => each.close()));
      await kms.close();
    });

    test("resolves a key by id and by label, and says which it is", async () => {
      assert.equal((await encryptor.resolveKey(within(5000))).keyId, key.id);
      const [byLabel, [made]] = await labelled({});
      assert.equal((await byLabel.resolveKey(within(5000))).keyId, made?.id);
    });

    for (const size of [1, 31, 32, 33, 256])
      test(`gives back ${size} bytes as they were, within kube-apiserver's limits`, async () => {
        const plaintext = randomBytes(size);
        const wrapped = await encryptor.encrypt(plaintext, key.id, within(5000));
        assert.ok(wrapped.ciphertext.length >= 1 && wrapped.ciphertext.length <= 1024);
        assert.ok(!Buffer.from(wrapped.ciphertext).includes(plaintext) || size === 1);
        const unwrapped = await encryptor.decrypt({ ...wrapped, keyId: key.id }, within(5000));
        assert.deepEqual(Buffer.from(unwrapped), plaintext);
      });

    test("never makes the same ciphertext twice", async () => {
      const plaintext = randomBytes(32);
      const first = await encryptor.encrypt(plaintext, key.id, within(5000));
      const second = await encryptor.encrypt(plaintext, key.id, within(5000));
      assert.notDeepEqual(first.ciphertext, second.ciphertext);
    });

    test("finds a change in any part of the ciphertext, and goes on working", async () => {
      const plaintext = randomBytes(32);
      const wrapped = await encryptor.encrypt(plaintext, key.id, within(5000));
      const { length } = wrapped.ciphertext;
      for (const at of [0, 1, length >> 1, length - 17, length - 2]) {
        const ciphertext = Uint8Array.from(wrapped.ciphertext);
        ciphertext[at] = (ciphertext[at] ?? 0) ^ 1;
        const request = { ...wrapped, ciphertext, keyId: key.id };
        await fails(encryptor.decrypt(request, within(5000)), "REQUEST_CIPHERTEXT_INVALID");
      }
      const again = await encryptor.decrypt({ ...wrapped, keyId: key.id }, within(5000));
      assert.deepEqual(Buffer.from(again), plaintext);
    });

    test("refuses a ciphertext that is cut short or belongs to another key", async () => {
      const wrapped = await encryptor.encrypt(randomBytes(32), key.id, within(5000));
      const short = { ...wrapped, ciphertext: wrapped.ciphertext.subarray(0, 8), keyId: key.id };
      await fails(
        encryptor.decrypt(short, within(5000)),
        "REQUEST_CIPHERTEXT_TOO_SHORT",
        "REQUEST_CIPHERTEXT_INVALID",
      );
      const other = kms.keys.create({});
      const foreign = encryptor.decrypt({ ...wrapped, keyId: other.id }, within(5000));
      await fails(foreign, "REQUEST_CIPHERTEXT_INVALID");
    });

    test("says that a key is unknown, to Encrypt, Decrypt and the probe", async () => {
      const wrapped = await encryptor.encrypt(randomBytes(32), key.id, within(5000));
      const keyId = subject.unknownId;
      await fails(encryptor.decrypt({ ...wrapped, keyId }, within(5000)), "KEY_NOT_FOUND");
      await fails(encryptor.encrypt(randomBytes(32), keyId, within(5000)), "KEY_NOT_FOUND");
      const unknown = await open({ id: keyId });
      await fails(unknown.resolveKey(within(5000)), "KEY_NOT_FOUND");
    });

    for (const [what, made] of [
      ["a key of another algorithm", { algorithm: "RSA", lengthBits: 2048 }],
      ["a key that may not encrypt", { usage: ["Decrypt"] }],
      ["a key that may not decrypt", { usage: ["Encrypt"] }],
    ] as const satisfies (readonly [string, NewKey])[])
      test(`calls ${what} unusable`, async () => {
        const byId = await open({ id: kms.keys.create(made).id });
        await fails(byId.resolveKey(within(5000)), "KEY_UNUSABLE");
      });

    for (const state of ["PreActive", "Deactivated", "Compromised"] as const)
      test(`says of a key that is ${state} that it is not active`, async () => {
        const byId = await open({ id: kms.keys.create({ state }).id });
        await fails(byId.resolveKey(within(5000)), "KEY_NOT_ACTIVE");
      });

    test("notices that a key is disabled while in use, and that it is active again", async () => {
      const [, [made]] = await labelled({});
      assert.ok(made);
      const byId = await open({ id: made.id });
      await byId.resolveKey(within(5000));
      kms.keys.update(made.id, { state: "Deactivated" });
      await fails(byId.resolveKey(within(5000)), "KEY_NOT_ACTIVE");
      await fails(
        byId.encrypt(randomBytes(32), made.id, within(5000)),
        "KEY_NOT_ACTIVE",
        "KMIP_RESULT",
        "REST_STATUS",
      );
      kms.keys.update(made.id, { state: "Active" });
      assert.equal((await byId.resolveKey(within(5000))).keyId, made.id);
    });

    test("says that access is denied", async () => {
      kms.faults.deniedKeys.add(key.id);
      await fails(encryptor.resolveKey(within(5000)), "KEY_ACCESS_DENIED");
    });

    test("follows a label to another key; what the old one wrapped is still read", async () => {
      const [byLabel, [old], name] = await labelled({});
      assert.ok(old);
      const plaintext = randomBytes(32);
      const wrapped = await byLabel.encrypt(plaintext, old.id, within(5000));
      kms.keys.update(old.id, { names: [] });
      const next = kms.keys.create({ name });
      assert.equal((await byLabel.resolveKey(within(5000))).keyId, next.id);
      const unwrapped = await byLabel.decrypt({ ...wrapped, keyId: old.id }, within(5000));
      assert.deepEqual(Buffer.from(unwrapped), plaintext);
    });

    test("says that a label is lost, and finds it again", async () => {
      const [byLabel, [made], name] = await labelled({});
      assert.ok(made);
      await byLabel.resolveKey(within(5000));
      kms.keys.update(made.id, { names: [] });
      await fails(byLabel.resolveKey(within(5000)), "KEY_NOT_FOUND");
      kms.keys.update(made.id, { names: [name] });
      assert.equal((await byLabel.resolveKey(within(5000))).keyId, made.id);
    });

    test("says that a label is on two keys, and names both for the log", async () => {
      const [byLabel, keys] = await labelled({}, {});
      const error = await fails(byLabel.resolveKey(within(5000)), "KEY_AMBIGUOUS");
      const told = JSON.stringify(error.details);
      for (const { id } of keys) assert.ok(told.includes(id), told);
    });

    test("outlasts an outage that is shorter than the deadline", async () => {
      await encryptor.resolveKey(within(5000));
      await kms.stop();
      const started = encryptor.encrypt(randomBytes(32), key.id, within(10_000));
      await new Promise((resolve) => setTimeout(resolve, 400));
      await kms.start();
      assert.ok((await started).ciphertext.length > 0);
    });

    test("ends at the deadline while the KMS is away, and works when it is back", async () => {
      await kms.stop();
      const began = performance.now();
      const error = await fails(
        encryptor.encrypt(randomBytes(32), key.id, within(600)),
        "TIMEOUT",
        "CONNECT",
        "CLOSED",
        "CANCELED",
      );
      assert.ok(performance.now() - began < 3000, "long after its deadline");
      assert.ok(error.retryable || error.code === "CANCELED");
      await kms.start();
      assert.ok((await encryptor.encrypt(randomBytes(32), key.id, within(5000))).ciphertext.length > 0);
    });

    test("waits for a slow reply", async () => {
      kms.faults.delayMs = 300;
      assert.ok((await encryptor.encrypt(randomBytes(32), key.id, within(5000))).ciphertext.length > 0);
    });

    test("ends at the deadline where the KMS is mute, and the next call works", async () => {
      kms.faults.silent = true;
      const began = performance.now();
      await fails(encryptor.encrypt(randomBytes(32), key.id, within(500)), "TIMEOUT", "CANCELED");
      assert.ok(performance.now() - began < 3000, "long after its deadline");
      kms.faults.silent = false;
      assert.ok((await encryptor.encrypt(randomBytes(32), key.id, within(5000))).ciphertext.length > 0);
    });

    test("ends at once when its caller leaves", async () => {
      kms.faults.silent = true;
      const caller = new AbortController();
      const call = encryptor.encrypt(randomBytes(32), key.id, within(30_000, caller));
      setTimeout(() => caller.abort(new ProviderError("CANCELED", "the caller left")), 100);
      const began = performance.now();
      await fails(call, "CANCELED");
      assert.ok(performance.now() - began < 3000, "long after its caller had left");
    });

    for (const fault of ["closeAfterRequest", "halfFrame", "garbage"] as const)
      test(`is not led astray by one reply of the kind ${fault}`, async () => {
        Object.assign(kms.faults, { [fault]: true, count: 1 });
        await roundTrip(encryptor, key.id);
      });

    test("keeps a hundred calls at once apart", async () => {
      await Promise.all(Array.from({ length: 100 }, () => roundTrip(encryptor, key.id)));
    });

    test("loses no call while its certificates are exchanged", async () => {
      const material = await loadTlsMaterial(kms.clientFiles);
      const calls = Array.from({ length: 40 }, async (_, index) => {
        await new Promise((resolve) => setTimeout(resolve, index * 5));
        if (index % 10 === 0) encryptor.setTlsMaterial(material);
        return encryptor.encrypt(randomBytes(32), key.id, within(10_000));
      });
      assert.equal((await Promise.all(calls)).length, 40);
    });

    test("closes while it is busy: what is in flight fails, nothing is left open", async () => {
      const busy = await open({ id: key.id });
      await busy.resolveKey(within(5000));
      kms.faults.silent = true;
      const calls = Array.from({ length: 4 }, () =>
        fails(busy.encrypt(randomBytes(32), key.id, within(30_000)), "SHUTTING_DOWN"),
      );
      await new Promise((resolve) => setTimeout(resolve, 100));
      await busy.close();
      await busy.close();
      await Promise.all(calls);
      await fails(busy.encrypt(randomBytes(32), key.id, within(1000)), "SHUTTING_DOWN");
    });

    test("does nothing before it has certificates, and says so", async () => {
      const bare = await subject.createEncryptor(kms, { id: key.id });
      opened.add(bare);
      await fails(bare.encrypt(randomBytes(32), key.id, within(1000)), "TLS_FILES");
    });
  });
}

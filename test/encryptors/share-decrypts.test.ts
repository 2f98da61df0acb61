/** Shared Decrypts: who shares with whom, and what one that leaves does to the others. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ProviderError } from "../../src/errors.ts";
import type { CallContext, Encryptor, UnwrapRequest } from "../../src/encryptors/encryptor.ts";
import { shareDecrypts } from "../../src/encryptors/share-decrypts.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { encryptorFor, within } from "./kmip-harness.ts";

interface Exchange {
  readonly request: UnwrapRequest;
  readonly context: CallContext;
  readonly resolve: (plaintext: Uint8Array) => void;
  readonly reject: (error: unknown) => void;
}

/** An encryptor whose Decrypts end when the test says so, or when their signal aborts. */
function manual(): { encryptor: Encryptor; exchanges: Exchange[]; calls: string[] } {
  const exchanges: Exchange[] = [];
  const calls: string[] = [];
  const unused = (name: string) => async (): Promise<never> => {
    calls.push(name);
    throw new ProviderError("INTERNAL", name);
  };
  const encryptor: Encryptor = {
    protocol: "kmip",
    resolveKey: unused("resolveKey"),
    encrypt: unused("encrypt"),
    decrypt: (request, context) =>
      new Promise((resolve, reject) => {
        context.signal.addEventListener("abort", () =>
          reject(new ProviderError("CANCELED", "told by the exchange")),
        );
        exchanges.push({ request, context, resolve, reject });
      }),
    setTlsMaterial: () => void calls.push("setTlsMaterial"),
    connections: () => ({ idle: 1, busy: 2, connecting: 3 }),
    close: async () => void calls.push("close"),
  };
  return { encryptor: shareDecrypts(encryptor), exchanges, calls };
}

function requestOf(changes: Partial<UnwrapRequest> = {}): UnwrapRequest {
  return {
    keyId: "key",
    ciphertext: Uint8Array.of(1, 2, 3),
    annotations: { "a.example": Uint8Array.of(4), "b.example": Uint8Array.of(5) },
    ...changes,
  };
}

function caller(deadline = Infinity): { context: CallContext; leave: (reason?: unknown) => void } {
  const control = new AbortController();
  return { context: { signal: control.signal, deadline }, leave: (reason) => control.abort(reason) };
}

function first<T>(list: readonly T[]): T {
  const [one] = list;
  assert.ok(one !== undefined);
  return one;
}

test("An encryptor may read the deadline at once", async () => {
  const { encryptor } = manual();
  const deadlines: (number | undefined)[] = [];
  const eager = shareDecrypts({
    ...encryptor,
    decrypt: async (_, { deadline }) => {
      deadlines.push(deadline);
      return Uint8Array.of(1);
    },
  });
  assert.deepEqual(await eager.decrypt(requestOf(), caller(7).context), Uint8Array.of(1));
  assert.deepEqual(deadlines, [7]);
});

test("Identical Decrypts in flight are one exchange, and each caller has bytes of its own", async () => {
  const { encryptor, exchanges } = manual();
  const reordered = { "b.example": Uint8Array.of(5), "a.example": Uint8Array.of(4) };
  const results = [
    encryptor.decrypt(requestOf(), caller().context),
    encryptor.decrypt(requestOf({ ciphertext: Buffer.from([1, 2, 3]) }), caller().context),
    encryptor.decrypt(requestOf({ annotations: reordered }), caller().context),
  ];
  assert.equal(exchanges.length, 1);
  first(exchanges).resolve(Uint8Array.of(9));
  const plaintexts = await Promise.all(results);
  for (const plaintext of plaintexts) assert.deepEqual(new Uint8Array(plaintext), Uint8Array.of(9));
  assert.equal(new Set(plaintexts.map(({ buffer }) => buffer)).size, 3);
});

describe("an exchange is not shared with a Decrypt that differs in", () => {
  const others: Record<string, Partial<UnwrapRequest>> = {
    "its key": { keyId: "other" },
    "its ciphertext": { ciphertext: Uint8Array.of(1, 2, 4) },
    "an annotation's bytes": {
      annotations: { "a.example": Uint8Array.of(4), "b.example": Uint8Array.of(6) },
    },
    "an annotation's name": { annotations: { "a.example": Uint8Array.of(4), "c.example": Uint8Array.of(5) } },
    "having an annotation more": {
      annotations: { ...requestOf().annotations, "c.example": Uint8Array.of() },
    },
    "where one field ends and the next begins": { keyId: 'key","AQID', ciphertext: Uint8Array.of() },
  };
  for (const [what, changes] of Object.entries(others))
    test(what, async () => {
      const { encryptor, exchanges } = manual();
      const results = [
        encryptor.decrypt(requestOf(), caller().context),
        encryptor.decrypt(requestOf(changes), caller().context),
      ];
      assert.equal(exchanges.length, 2);
      for (const { resolve } of exchanges) resolve(Uint8Array.of(1));
      await Promise.all(results);
    });
});

test("A Decrypt that comes after the reply is an exchange of its own", async () => {
  const { encryptor, exchanges } = manual();
  for (const mark of [1, 2]) {
    const result = encryptor.decrypt(requestOf(), caller().context);
    exchanges.at(-1)?.resolve(Uint8Array.of(mark));
    assert.deepEqual(await result, Uint8Array.of(mark));
  }
  assert.equal(exchanges.length, 2);
});

test("A failure reaches every caller, and the next Decrypt tries again", async () => {
  const { encryptor, exchanges } = manual();
  const failure = new ProviderError("KEY_NOT_FOUND", "no such key");
  const results = [1, 2].map(() => encryptor.decrypt(requestOf(), caller().context));
  first(exchanges).reject(failure);
  for (const result of results) await assert.rejects(result, failure);
  const again = encryptor.decrypt(requestOf(), caller().context);
  exchanges.at(-1)?.resolve(Uint8Array.of(1));
  await again;
  assert.equal(exchanges.length, 2);
});

test("A caller that leaves hears so at once, and the others get their plaintext", async () => {
  const { encryptor, exchanges } = manual();
  const leaver = caller();
  const leaving = encryptor.decrypt(requestOf(), leaver.context);
  const staying = encryptor.decrypt(requestOf(), caller().context);
  const reason = new ProviderError("TIMEOUT", "its time was over");
  leaver.leave(reason);
  await assert.rejects(leaving, reason);
  assert.equal(first(exchanges).context.signal.aborted, false);
  first(exchanges).resolve(Uint8Array.of(1));
  assert.deepEqual(new Uint8Array(await staying), Uint8Array.of(1));
});

test("The exchange ends when the last caller has left, which hears what the exchange says of it", async () => {
  const { encryptor, exchanges } = manual();
  const [one, other] = [caller(), caller()];
  const results = [one, other].map(({ context }) => encryptor.decrypt(requestOf(), context));
  one.leave();
  await assert.rejects(first(results), { code: "CANCELED", message: "the caller left" });
  other.leave();
  await assert.rejects(results[1] ?? Promise.resolve(), {
    code: "CANCELED",
    message: "told by the exchange",
  });
  assert.equal(first(exchanges).context.signal.aborted, true);
});

test("A Decrypt that comes after the last caller has left does not join what was aborted", async () => {
  const { encryptor, exchanges } = manual();
  const leaver = caller();
  const left = encryptor.decrypt(requestOf(), leaver.context);
  leaver.leave();
  const next = encryptor.decrypt(requestOf(), caller().context);
  assert.equal(exchanges.length, 2);
  exchanges[1]?.resolve(Uint8Array.of(2));
  assert.deepEqual(await next, Uint8Array.of(2));
  await assert.rejects(left);
});

test("The shared exchange has the latest of its callers' deadlines", async () => {
  const { encryptor, exchanges } = manual();
  const results = [1000, 3000, 2000].map((deadline) =>
    encryptor.decrypt(requestOf(), caller(deadline).context),
  );
  assert.equal(first(exchanges).context.deadline, 3000);
  first(exchanges).resolve(Uint8Array.of(1));
  await Promise.all(results);
});

test("A caller that has left already starts nothing", async () => {
  const { encryptor, exchanges } = manual();
  const leaver = caller();
  leaver.leave();
  await assert.rejects(encryptor.decrypt(requestOf(), leaver.context), { code: "CANCELED" });
  assert.equal(exchanges.length, 0);
});

test("Everything else goes to the encryptor behind", async () => {
  const { encryptor, calls } = manual();
  await assert.rejects(encryptor.resolveKey(caller().context));
  await assert.rejects(encryptor.encrypt(Uint8Array.of(1), "key", caller().context));
  encryptor.setTlsMaterial({} as never);
  await encryptor.close();
  assert.equal(encryptor.protocol, "kmip");
  assert.deepEqual(calls, ["resolveKey", "encrypt", "setTlsMaterial", "close"]);
});

test("Callers whose time is over while the KMS is down all hear that, with its name, and not the last of them only", async (t) => {
  const kms = await startDevKms({ rest: false });
  t.after(() => kms.close());
  const { id } = kms.keys.create({ name: "kek" });
  await using inner = await encryptorFor(kms, { label: "kek" });
  const encryptor = shareDecrypts(inner);
  const wrapped = await encryptor.encrypt(Buffer.alloc(32, 1), id, within());
  await kms.stop();
  const failures = await Promise.allSettled(
    [300, 310, 320, 330].map((ms) => encryptor.decrypt({ ...wrapped, keyId: id }, within(ms))),
  );
  for (const failure of failures) {
    assert.ok(failure.status === "rejected" && failure.reason instanceof ProviderError);
    const { code, details } = failure.reason;
    assert.deepEqual([code, details["endpoint"]], ["CONNECT", kms.kmipAddress]);
  }
});

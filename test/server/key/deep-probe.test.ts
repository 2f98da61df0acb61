/** The deep probe: what an earlier one wrapped has to open, in memory and across restarts. */
import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import { proveEncrypts } from "../../../src/encryptors/prove-encrypts.ts";
import { describe, test } from "node:test";
import type { Wrapped } from "../../../src/encryptors/encryptor.ts";
import { ProviderError, TimeoutError } from "../../../src/errors.ts";
import { KeyUnavailableError } from "../../../src/server/key/key-failure.ts";
import type { KeyStatus, KeyStatusOptions, StatusEvent } from "../../../src/server/key/key-status.ts";
import { createKeyStatus } from "../../../src/server/key/key-status.ts";
import { createSampleFile, sampleFileName } from "../../../src/server/key/sample-file.ts";
import { createSampleStore, maxSamples } from "../../../src/server/key/samples.ts";
import type { Sample, SampleFile, SampleFileEvent } from "../../../src/server/key/samples.ts";
import { temporaryFolder } from "../harness.ts";
import { createLocalEncryptor } from "../local-encryptor.ts";
import type { LocalEncryptor } from "../local-encryptor.ts";

/** For stores of which nothing goes wrong. */
const noEvent = ({ change, error }: SampleFileEvent): void => assert.fail(`${change}: ${String(error)}`);
const anyTime = { signal: new AbortController().signal };

interface Setup {
  readonly status: KeyStatus;
  readonly encryptor: LocalEncryptor;
  readonly events: StatusEvent[];
  /** What Encrypt gave, in order. */
  readonly wrapped: Wrapped[];
  untilState(state: string): Promise<void>;
  /** Runs deep probes until `count` more have ended. */
  deepProbes(count: number): Promise<void>;
}

/** A status that probes deeply every 10 ms, started. */
function start(
  t: TestContext,
  change: Partial<KeyStatusOptions> = {},
  encryptor = createLocalEncryptor(),
): Setup {
  const events: StatusEvent[] = [];
  const wrapped: Wrapped[] = [];
  const waiting = new Set<() => void>();
  const { encrypt } = encryptor;
  const proving = proveEncrypts(
    Object.assign(encryptor, {
      encrypt: async (...given: Parameters<typeof encrypt>) => {
        const result = await encrypt(...given);
        wrapped.push(result);
        return result;
      },
    }),
  );
  const status = createKeyStatus({
    // By its name at each call: some tests exchange it.
    encryptor: { ...proving, decrypt: (...given) => encryptor.decrypt(...given) },
    key: { id: "key-1" },
    probeIntervalMs: 10,
    deepProbeIntervalMs: 0,
    graceMs: 60_000,
    timeoutMs: 2000,
    ...change,
    onEvent(event) {
      events.push(event);
      for (const tell of waiting) tell();
      waiting.clear();
    },
  });
  t.after(() => status.stop());
  status.start();
  const nextEvent = (): Promise<void> => new Promise((resolve) => waiting.add(resolve));
  const deepCount = (): number =>
    events.filter((event) => event.type === "probe" && event.kind === "deep").length;
  return {
    status,
    encryptor,
    events,
    wrapped,
    async untilState(state) {
      while (status.snapshot().state !== state) await nextEvent();
    },
    async deepProbes(count) {
      const wanted = deepCount() + count;
      while (deepCount() < wanted) await nextEvent();
    },
  };
}

describe("a key whose bytes are exchanged under its identifier", () => {
  test("is a permanent failure KEY_CHANGED in plain words, and recovers when the former bytes are back", async (t) => {
    const it = start(t);
    await it.untilState("ok");
    const former = it.encryptor.exchange("key-1");
    await it.untilState("permanent");
    const { failure, healthz } = it.status.snapshot();
    assert.equal(failure?.code, "KEY_CHANGED");
    assert.match(
      failure.message,
      /^the bytes of the key key-1 were exchanged under its identifier: values wrapped before can no longer be read/,
    );
    assert.match(healthz, /can no longer be read \[KEY_CHANGED\]/);
    for (const asked of [it.status.current(anyTime), it.status.encryptionKey(anyTime)])
      await assert.rejects(
        asked,
        (error) => error instanceof KeyUnavailableError && error.kind === "permanent",
      );
    await it.deepProbes(2);
    assert.equal(
      it.status.snapshot().state,
      "permanent",
      "a second value of the new bytes is not taken for the old",
    );
    it.encryptor.exchange("key-1", former);
    await it.untilState("ok");
    assert.deepEqual(await it.status.current(anyTime), { keyId: "key-1", healthz: "ok" });
  });

  test("is noticed where the KMS refuses the old value in words of its own, twice", async (t) => {
    const it = start(t);
    await it.untilState("ok");
    const refused = new ProviderError("KMIP_RESULT", "refused", {
      refusal: { class: "other", name: "General Failure" },
    });
    it.encryptor.ciphertextErrors.set(Buffer.from(it.wrapped[0]?.ciphertext ?? []).toString("hex"), refused);
    await it.untilState("permanent");
    assert.equal(it.status.snapshot().failure?.code, "KEY_CHANGED");
    assert.equal(it.status.snapshot().failure?.cause, refused);
  });

  test("keeps its failure while the KMS is unreachable", async (t) => {
    const it = start(t);
    await it.untilState("ok");
    it.encryptor.exchange("key-1");
    await it.untilState("permanent");
    it.encryptor.resolveError = new TimeoutError("response", "no answer");
    while (it.events.findLast((event) => event.type === "probe")?.outcome !== "transient")
      await it.deepProbes(0).then(() => new Promise(setImmediate));
    assert.equal(it.status.snapshot().failure?.code, "KEY_CHANGED");
  });

  test("that only a label led to leaves the current key in use while that works", async (t) => {
    const it = start(t, { key: { label: "kek" } });
    await it.untilState("ok");
    it.encryptor.keyId = "key-2";
    while (it.status.snapshot().keyId !== "key-2") await it.deepProbes(1);
    it.encryptor.keyId = "key-1";
    while (it.status.snapshot().keyId !== "key-1") await it.deepProbes(1);
    it.encryptor.exchange("key-2");
    it.encryptor.keyId = "key-2";
    await it.untilState("grace");
    assert.equal(await it.status.encryptionKey(anyTime), "key-1");
    assert.equal(it.status.snapshot().failure?.code, "KEY_CHANGED");
  });
});

describe("is no exchanged key:", () => {
  test("an old value that another server does not open, as after a failover: KEY_SELF_TEST, which names both", async (t) => {
    const local = createLocalEncryptor();
    let active = "kms-1:5696";
    const asked: (string | undefined)[] = [];
    const { encrypt, decrypt } = local;
    const it = start(
      t,
      {},
      Object.assign(local, {
        encrypt: (...given: Parameters<typeof encrypt>) => {
          given[2].onServer?.(active);
          return encrypt(...given);
        },
        decrypt: (...given: Parameters<typeof decrypt>) => {
          asked.push(given[1].server);
          given[1].onServer?.(active);
          return decrypt(...given);
        },
      }),
    );
    await it.untilState("ok");
    active = "kms-2:5696";
    const former = local.exchange("key-1");
    await it.untilState("permanent");
    const { failure } = it.status.snapshot();
    assert.equal(failure?.code, "KEY_SELF_TEST");
    assert.match(
      failure.message,
      /^kms-2:5696 does not decrypt what kms-1:5696 encrypted at \d{4}-.* lags behind/,
    );
    assert.equal(asked.at(-1), "kms-1:5696", "the one that had wrapped it was to be asked first");
    local.exchange("key-1", former);
    await it.untilState("ok");
  });

  test("an old value that fails once, and opens when it is tried again", async (t) => {
    const it = start(t);
    await it.untilState("ok");
    const name = Buffer.from(it.wrapped[0]?.ciphertext ?? []).toString("hex");
    const { decrypt } = it.encryptor;
    let failures = 0;
    it.encryptor.decrypt = async (request, context) => {
      if (failures > 0 || Buffer.from(request.ciphertext).toString("hex") !== name)
        return await decrypt(request, context);
      failures += 1;
      throw new ProviderError("REQUEST_CIPHERTEXT_INVALID", "refused this once");
    };
    await it.deepProbes(2);
    assert.equal(failures, 1);
    assert.deepEqual(
      [
        ...new Set(
          it.events.filter(({ type }) => type === "state").map((event) => "now" in event && event.now.state),
        ),
      ],
      ["ok"],
    );
  });

  test("an old value that this client may not decrypt: that is about rights, and permanent as such", async (t) => {
    const it = start(t);
    await it.untilState("ok");
    const denied = new ProviderError("KEY_ACCESS_DENIED", "denied");
    it.encryptor.ciphertextErrors.set(Buffer.from(it.wrapped[0]?.ciphertext ?? []).toString("hex"), denied);
    await it.untilState("permanent");
    assert.equal(it.status.snapshot().failure, denied);
  });

  test("an old value of which nothing is known, for the KMS does not answer: a transient failure", async (t) => {
    const it = start(t);
    await it.untilState("ok");
    const timeout = new TimeoutError("response", "no answer");
    it.encryptor.ciphertextErrors.set(Buffer.from(it.wrapped[0]?.ciphertext ?? []).toString("hex"), timeout);
    await it.untilState("grace");
    assert.equal(it.status.snapshot().failure, timeout);
  });

  test("a key that does not read its own fresh value either: KEY_SELF_TEST", async (t) => {
    const it = start(t);
    await it.untilState("ok");
    it.encryptor.garbles = true;
    await it.untilState("permanent");
    assert.equal(it.status.snapshot().failure?.code, "KEY_SELF_TEST");
  });

  test("a new key, by another identifier", async (t) => {
    const it = start(t, { key: { label: "kek" } });
    await it.untilState("ok");
    it.encryptor.keyId = "key-2";
    while (it.status.snapshot().keyId !== "key-2") await it.deepProbes(1);
    assert.equal(it.status.snapshot().state, "ok");
  });
});

test("a light probe opens nothing, and a deep one comes at its own interval", async (t) => {
  const it = start(t, { deepProbeIntervalMs: 80 });
  await it.deepProbes(3);
  const probes = it.events.filter((event) => event.type === "probe");
  assert.ok(probes.filter(({ kind }) => kind === "light").length >= 4, "there are light probes between");
  // The first wraps and opens its own; each later one opens the first one's, too.
  assert.deepEqual(it.encryptor.calls, { ...it.encryptor.calls, encrypt: 3, decrypt: 5 });
});

describe("with --state-dir", () => {
  test("a key that was exchanged while the plugin was stopped is noticed at the start, and recovers", async (t) => {
    const stateDir = path.join(temporaryFolder(t), "state");
    const first = start(t, { stateDir });
    await first.untilState("ok");
    await first.status.stop();
    const former = first.encryptor.exchange("key-1");
    const second = start(t, { stateDir }, first.encryptor);
    await second.untilState("permanent");
    assert.equal(second.status.snapshot().failure?.code, "KEY_CHANGED");
    await assert.rejects(second.status.current(anyTime), KeyUnavailableError);
    second.encryptor.exchange("key-1", former);
    await second.untilState("ok");
  });

  test("the file is 0600 in a folder of 0700, and holds neither the test value nor a part of a key", async (t) => {
    const stateDir = path.join(temporaryFolder(t), "state");
    const it = start(t, { stateDir });
    const plaintexts: Uint8Array[] = [];
    const { encrypt } = it.encryptor;
    it.encryptor.encrypt = (plaintext, ...rest) => {
      plaintexts.push(plaintext);
      return encrypt(plaintext, ...rest);
    };
    await it.untilState("ok");
    await it.status.stop();
    const file = path.join(stateDir, sampleFileName);
    assert.equal(statSync(stateDir).mode & 0o777, 0o700);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const text = readFileSync(file, "utf8");
    const material = it.encryptor.exchange("key-1");
    assert.equal(plaintexts.length > 0, true);
    for (const secret of [material, ...plaintexts])
      for (const form of ["hex", "base64", "base64url", "latin1"] as const)
        assert.ok(!text.includes(Buffer.from(secret).toString(form)), form);
  });

  test("a folder that cannot be made costs nothing but one warning", async (t) => {
    const file = path.join(temporaryFolder(t), "file");
    writeFileSync(file, "");
    const it = start(t, { stateDir: path.join(file, "below") });
    await it.untilState("ok");
    await it.deepProbes(4);
    assert.equal(it.status.snapshot().state, "ok");
    const told = it.events.filter((event) => event.type === "sample-file");
    assert.deepEqual(
      told.map(({ change }) => change),
      ["unreadable", "unwritable"],
    );
  });
});

function sampleOf(keyId: string, change: Partial<Sample> = {}): Sample {
  return {
    protocol: "kmip",
    keyId,
    ciphertext: Buffer.from(`wrapped under ${keyId}`),
    annotations: { "iv.okms.ovh.com": Buffer.from("iv") },
    sha256: "0".repeat(64),
    wrappedAt: new Date("2026-01-01T00:00:00.000Z"),
    ...change,
  };
}

describe("the samples", () => {
  test("keep the first of each key, apart by protocol", async () => {
    const store = createSampleStore(undefined, () => {});
    const first = sampleOf("a");
    store.keep(first);
    store.keep(sampleOf("a", { sha256: "1".repeat(64) }));
    store.keep(sampleOf("a", { protocol: "rest", sha256: "2".repeat(64) }));
    assert.equal(await store.find("kmip", "a"), first);
    assert.equal((await store.find("rest", "a"))?.sha256, "2".repeat(64));
    assert.equal(await store.find("kmip", "b"), undefined);
  });

  test(`are ${maxSamples} at most: the oldest goes`, async () => {
    const store = createSampleStore(undefined, () => {});
    for (let index = 0; index <= maxSamples; index += 1) store.keep(sampleOf(`key-${index}`));
    assert.equal(await store.find("kmip", "key-0"), undefined);
    assert.ok(await store.find("kmip", "key-1"));
    assert.ok(await store.find("kmip", `key-${maxSamples}`));
  });

  test("take none that is far larger than what this program wraps", async () => {
    const store = createSampleStore(undefined, () => {});
    store.keep(sampleOf("a", { ciphertext: new Uint8Array(9000) }));
    assert.equal(await store.find("kmip", "a"), undefined);
  });

  test("outlive the store in their file, and what is in the file is the older one", async (t) => {
    const folder = temporaryFolder(t);
    const file = createSampleFile(folder);
    const first = createSampleStore(file, noEvent);
    await first.find("kmip", "a");
    first.keep(sampleOf("a"));
    first.keep(sampleOf("b"));
    await first.settle();
    const second = createSampleStore(file, noEvent);
    second.keep(sampleOf("a", { sha256: "1".repeat(64) }));
    assert.deepEqual(await second.find("kmip", "a"), sampleOf("a"));
    assert.deepEqual(await second.find("kmip", "b"), sampleOf("b"));
    await second.settle();
  });

  test("are not waited for longer than a second where the file system hangs, and are used once they are there", async () => {
    const read = Promise.withResolvers<readonly Sample[]>();
    const written: (readonly Sample[])[] = [];
    const hanging: SampleFile = {
      path: "/nfs/file",
      read: () => read.promise,
      write: async (samples) => void written.push(samples),
    };
    const store = createSampleStore(hanging, noEvent);
    const started = performance.now();
    assert.equal(await store.find("kmip", "a"), undefined);
    assert.ok(performance.now() - started < 2000);
    store.keep(sampleOf("a", { sha256: "1".repeat(64) }));
    assert.deepEqual(written, [], "nothing is written over what is not read yet");
    read.resolve([sampleOf("a")]);
    await store.settle();
    assert.deepEqual(await store.find("kmip", "a"), sampleOf("a"));
    assert.deepEqual(written, [[sampleOf("a")]]);
  });

  test("are written again when that works again, and both are told once", async () => {
    let isBroken = true;
    const events: SampleFileEvent["change"][] = [];
    const store = createSampleStore(
      {
        path: "/full/file",
        read: async () => [],
        write: async () => {
          if (isBroken) throw new Error("ENOSPC: no space left on device");
        },
      },
      ({ change }) => events.push(change),
    );
    store.keep(sampleOf("a"));
    await store.settle();
    await store.find("kmip", "a");
    await store.settle();
    isBroken = false;
    await store.find("kmip", "a");
    await store.settle();
    assert.deepEqual(events, ["unwritable", "writable"]);
  });
});

const damages: readonly [string, (file: string, text: string) => void, RegExp][] = [
  ["is cut", (file, text) => writeFileSync(file, text.slice(0, -10)), /JSON/],
  ["is empty", (file) => writeFileSync(file, ""), /JSON/],
  [
    "has another byte in a ciphertext",
    (file, text) => writeFileSync(file, text.replace(/"ciphertext": "./, '"ciphertext": "z')),
    /checksum does not match/,
  ],
  [
    "is of another version",
    (file, text) => writeFileSync(file, text.replace('"version": 1', '"version": 2')),
    /version|Expected 1/,
  ],
  ["is no object", (file) => writeFileSync(file, "[1]"), /./],
  ["may be written by others", (file) => chmodSync(file, 0o622), /other users/],
  ["is huge", (file) => writeFileSync(file, " ".repeat(2_000_000)), /small plain file/],
];

describe("a file of --state-dir that", () => {
  for (const [what, damage, reason] of damages)
    test(`${what} is not believed, and is replaced at the next write`, async (t) => {
      const folder = temporaryFolder(t);
      const file = createSampleFile(folder);
      await file.write([sampleOf("a")]);
      damage(file.path, readFileSync(file.path, "utf8"));
      await assert.rejects(file.read(), reason);
      await file.write([sampleOf("b")]);
      assert.deepEqual(await file.read(), [sampleOf("b")]);
      assert.equal(statSync(file.path).mode & 0o777, 0o600);
    });

  test("is a link is neither followed nor written through", async (t) => {
    const folder = temporaryFolder(t);
    const target = path.join(folder, "target");
    writeFileSync(target, "mine");
    const state = path.join(folder, "state");
    mkdirSync(state);
    const file = createSampleFile(state);
    symlinkSync(target, file.path);
    await assert.rejects(file.read(), /ELOOP/);
    await file.write([sampleOf("a")]);
    assert.equal(readFileSync(target, "utf8"), "mine");
    assert.deepEqual(await file.read(), [sampleOf("a")]);
  });

  test("a write that fails leaves nothing behind", async (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(path.join(folder, sampleFileName));
    await assert.rejects(createSampleFile(folder).write([sampleOf("a")]), { syscall: "rename" });
    assert.deepEqual(readdirSync(folder), [sampleFileName]);
  });

  test("is missing is no failure", async (t) => {
    assert.deepEqual(await createSampleFile(path.join(temporaryFolder(t), "none")).read(), []);
  });
});

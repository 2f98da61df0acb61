import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { proveEncrypts } from "../../../src/encryptors/prove-encrypts.ts";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { NetworkError, ProviderError } from "../../../src/errors.ts";
import { KeyUnavailableError } from "../../../src/server/key/key-failure.ts";
import type { KeyStatus, KeyStatusOptions, StatusEvent } from "../../../src/server/key/key-status.ts";
import { createKeyStatus } from "../../../src/server/key/key-status.ts";
import { createLocalEncryptor } from "../local-encryptor.ts";
import type { LocalEncryptor } from "../local-encryptor.ts";

const unreachable = new NetworkError("CONNECT", "connect ECONNREFUSED 192.0.2.1:5696", {
  endpoint: "192.0.2.1:5696",
  sent: false,
});
const notActive = new ProviderError("KEY_NOT_ACTIVE", "the key is Deactivated");
const lost = new ProviderError("KEY_NOT_FOUND", "no key bears the label");
const doubled = new ProviderError("KEY_AMBIGUOUS", "two keys bear the label");

interface Setup {
  readonly status: KeyStatus;
  readonly encryptor: LocalEncryptor;
  readonly events: StatusEvent[];
  /** Resolves with the next probe that ends. */
  nextProbe(): Promise<Extract<StatusEvent, { type: "probe" }>>;
}

/** A status whose probes come every 20 ms, not started. */
function setup(t: TestContext, change: Partial<KeyStatusOptions> = {}): Setup {
  const encryptor = createLocalEncryptor();
  const events: StatusEvent[] = [];
  const waiting = new Set<(event: Extract<StatusEvent, { type: "probe" }>) => void>();
  const status = createKeyStatus({
    encryptor: proveEncrypts(encryptor),
    key: { id: "key-1" },
    probeIntervalMs: 20,
    deepProbeIntervalMs: 300_000,
    graceMs: 60_000,
    timeoutMs: 2000,
    ...change,
    onEvent(event) {
      events.push(event);
      if (event.type !== "probe") return;
      for (const tell of waiting) tell(event);
      waiting.clear();
    },
  });
  t.after(() => status.stop());
  return {
    status,
    encryptor,
    events,
    nextProbe: () => new Promise((resolve) => waiting.add(resolve)),
  };
}

const anyTime = { signal: new AbortController().signal };

async function untilState(it: Setup, state: string): Promise<void> {
  while (it.status.snapshot().state !== state) await it.nextProbe();
}

describe("before the first probe has ended", () => {
  test("a status that was asked waits for it and then names the key", async (t) => {
    const { status, encryptor } = setup(t);
    encryptor.delayMs = 30;
    status.start();
    assert.equal(status.snapshot().state, "unknown");
    assert.deepEqual(await status.current(anyTime), { keyId: "key-1", healthz: "ok" });
  });

  test("a status that was asked gives up with its caller's reason when its time is over", async (t) => {
    const { status, encryptor } = setup(t);
    encryptor.hangs = true;
    status.start();
    const reason = new ProviderError("TIMEOUT", "over");
    await assert.rejects(status.current({ signal: AbortSignal.abort(reason) }), reason);
  });

  test("a transient failure leaves no key to name, so status fails as transient", async (t) => {
    const { status, encryptor } = setup(t);
    encryptor.resolveError = unreachable;
    status.start();
    await assert.rejects(status.current(anyTime), (error) => {
      assert.ok(error instanceof KeyUnavailableError);
      assert.equal(error.kind, "transient");
      assert.equal(error.failure, unreachable);
      return true;
    });
    assert.equal(status.snapshot().state, "transient");
    assert.equal(status.snapshot().keyId, undefined);
  });

  test("a KMS that comes up later is found without anybody asking", async (t) => {
    const it = setup(t);
    it.encryptor.resolveError = unreachable;
    it.status.start();
    await it.nextProbe();
    it.encryptor.resolveError = undefined;
    await untilState(it, "ok");
    assert.deepEqual(await it.status.current(anyTime), { keyId: "key-1", healthz: "ok" });
  });
});

describe("a healthy key", () => {
  test("is probed deeply at the start, and lightly after that", async (t) => {
    const it = setup(t);
    it.status.start();
    assert.equal((await it.nextProbe()).kind, "deep");
    assert.equal((await it.nextProbe()).kind, "light");
    assert.equal((await it.nextProbe()).kind, "light");
    assert.equal(it.encryptor.calls.encrypt, 1);
  });

  test("answers from memory, however slow the KMS has become", async (t) => {
    const it = setup(t);
    it.status.start();
    await it.nextProbe();
    it.encryptor.hangs = true;
    let turns = 0;
    const counting = setImmediate(() => (turns += 1));
    await it.status.current(anyTime);
    clearImmediate(counting);
    assert.equal(turns, 0);
  });

  test("is probed deeply before its time when asked, with the reason in the event", async (t) => {
    const it = setup(t, { probeIntervalMs: 60_000 });
    it.status.start();
    await it.nextProbe();
    it.status.probeSoon("because");
    it.status.probeSoon("because");
    const probe = await it.nextProbe();
    assert.equal(probe.kind, "deep");
    assert.equal(probe.reason, "because");
  });

  test("is probed again where the asking came while a probe ran", async (t) => {
    const it = setup(t, { probeIntervalMs: 60_000 });
    it.encryptor.delayMs = 10;
    it.status.start();
    it.status.probeSoon("meanwhile");
    await it.nextProbe();
    assert.equal((await it.nextProbe()).reason, "meanwhile");
  });

  test("is not probed any more after stop, which waits for the probe that runs", async (t) => {
    const it = setup(t);
    it.status.start();
    await it.nextProbe();
    it.encryptor.hangs = true;
    const before = it.encryptor.calls.resolveKey;
    while (it.encryptor.calls.resolveKey === before) await sleep(5);
    await it.status.stop();
    const { resolveKey } = it.encryptor.calls;
    assert.equal(it.encryptor.signals.at(-1)?.aborted, true);
    await sleep(50);
    assert.equal(it.encryptor.calls.resolveKey, resolveKey);
    assert.equal(it.status.snapshot().state, "ok");
  });
});

describe("a transient failure", () => {
  test("is not reported during the grace period", async (t) => {
    const it = setup(t);
    it.status.start();
    await it.nextProbe();
    it.encryptor.resolveError = unreachable;
    await untilState(it, "grace");
    assert.deepEqual(await it.status.current(anyTime), { keyId: "key-1", healthz: "ok" });
    assert.equal(it.status.snapshot().failure, unreachable);
  });

  test("is reported after the grace period, with the last key, and without the KMS's address", async (t) => {
    const it = setup(t, { graceMs: 50 });
    it.status.start();
    await it.nextProbe();
    it.encryptor.resolveError = unreachable;
    await untilState(it, "transient");
    const { keyId, healthz } = await it.status.current(anyTime);
    assert.equal(keyId, "key-1");
    assert.match(healthz, /^the KMS cannot be reached \[CONNECT\]; last good probe \d{4}-/);
    assert.doesNotMatch(healthz, /192\.0\.2/);
    assert.equal(await it.status.encryptionKey(anyTime), "key-1");
  });

  test("ends with one good probe, which is a deep one", async (t) => {
    const it = setup(t, { graceMs: 0 });
    it.status.start();
    await it.nextProbe();
    it.encryptor.resolveError = unreachable;
    await untilState(it, "transient");
    it.encryptor.resolveError = undefined;
    await untilState(it, "ok");
    const last = it.events.findLast((event) => event.type === "probe");
    assert.equal(last?.kind, "deep");
    assert.equal(it.status.snapshot().failure, undefined);
  });

  test("is what a KMS that never answers is, and its probe is given up by its own deadline", async (t) => {
    const it = setup(t, { timeoutMs: 50, graceMs: 0 });
    it.status.start();
    await it.nextProbe();
    it.encryptor.hangs = true;
    await untilState(it, "transient");
    assert.equal(it.status.snapshot().failure?.code, "TIMEOUT");
    it.encryptor.hangs = false;
    await untilState(it, "ok");
  });
});

const refusals: readonly [string, Error][] = [
  ["a key that is not active", notActive],
  ["a key that is gone", lost],
  ["a key of the wrong kind", new ProviderError("KEY_UNUSABLE", "the key is an RSA key")],
  ["a key that may not be used by this client", new ProviderError("KEY_ACCESS_DENIED", "denied")],
];

describe("a permanent failure", () => {
  for (const [what, error] of refusals) {
    test(`${what} makes status and Encrypt fail at once, and recovers with the next good probe`, async (t) => {
      const it = setup(t);
      it.status.start();
      await it.nextProbe();
      it.encryptor.resolveError = error;
      await untilState(it, "permanent");
      for (const asked of [it.status.current(anyTime), it.status.encryptionKey(anyTime)]) {
        await assert.rejects(
          asked,
          (caught) => caught instanceof KeyUnavailableError && caught.kind === "permanent",
        );
      }
      it.encryptor.resolveError = undefined;
      await untilState(it, "ok");
      assert.deepEqual(await it.status.current(anyTime), { keyId: "key-1", healthz: "ok" });
    });
  }

  test("an Encrypt that the KMS refuses for the key's state is permanent in a deep probe", async (t) => {
    const it = setup(t);
    it.status.start();
    await it.nextProbe();
    it.encryptor.encryptError = new ProviderError("KMIP_RESULT", "refused", {
      refusal: { class: "failed-precondition", name: "Key Value Not Present" },
    });
    it.status.probeSoon("Encrypt was refused");
    await untilState(it, "permanent");
  });

  test("a KMS that decrypts to other bytes than it encrypted is permanent", async (t) => {
    const it = setup(t);
    it.encryptor.garbles = true;
    it.status.start();
    await it.nextProbe();
    assert.equal(it.status.snapshot().state, "permanent");
    assert.equal(it.status.snapshot().failure?.code, "KEY_SELF_TEST");
  });

  test("a KMS that finds its own ciphertext changed is permanent, and no caller's fault", async (t) => {
    const it = setup(t);
    it.encryptor.decryptError = new ProviderError("REQUEST_CIPHERTEXT_INVALID", "changed");
    it.status.start();
    await it.nextProbe();
    assert.equal(it.status.snapshot().state, "permanent");
    assert.equal(it.status.snapshot().failure?.code, "KEY_SELF_TEST");
  });

  test("stays permanent when the KMS becomes unreachable: a disabled key gets no grace period", async (t) => {
    const it = setup(t);
    it.status.start();
    await it.nextProbe();
    it.encryptor.resolveError = notActive;
    await untilState(it, "permanent");
    it.encryptor.resolveError = unreachable;
    await it.nextProbe();
    await it.nextProbe();
    assert.equal(it.status.snapshot().state, "permanent");
    assert.equal(it.status.snapshot().failure, notActive);
  });
});

describe("a label", () => {
  test("that moves gives a new key only once a deep probe with it has succeeded", async (t) => {
    const it = setup(t, { key: { label: "kek" } });
    it.status.start();
    await it.nextProbe();
    it.encryptor.keyErrors.set("key-2", unreachable);
    it.encryptor.keyId = "key-2";
    await it.nextProbe();
    await it.nextProbe();
    assert.equal(await it.status.encryptionKey(anyTime), "key-1");
    assert.equal(it.status.snapshot().failure, unreachable);
    it.encryptor.keyErrors.delete("key-2");
    await untilState(it, "ok");
    assert.deepEqual(await it.status.current(anyTime), { keyId: "key-2", healthz: "ok" });
    const keys = it.events.filter((event) => event.type === "key");
    assert.deepEqual(
      keys.map(({ keyId, previous }) => [keyId, previous]),
      [
        ["key-1", undefined],
        ["key-2", "key-1"],
      ],
    );
  });

  for (const [what, error] of [
    ["lost", lost],
    ["doubled", doubled],
  ] as const) {
    test(`that is ${what} keeps the current key while that works, and the failure is reported after the grace period`, async (t) => {
      const it = setup(t, { key: { label: "kek" }, graceMs: 50 });
      it.status.start();
      await it.nextProbe();
      it.encryptor.resolveError = error;
      await untilState(it, "transient");
      const { keyId, healthz } = await it.status.current(anyTime);
      assert.equal(keyId, "key-1");
      assert.ok(healthz.includes(`[${error.code}]; the current key still works`), healthz);
    });

    test(`that is ${what} is permanent where the current key fails too`, async (t) => {
      const it = setup(t, { key: { label: "kek" } });
      it.status.start();
      await it.nextProbe();
      it.encryptor.resolveError = error;
      it.encryptor.encryptError = notActive;
      await untilState(it, "permanent");
      assert.equal(it.status.snapshot().failure, notActive);
    });

    test(`that is ${what} at the start leaves no key, and status fails`, async (t) => {
      const it = setup(t, { key: { label: "kek" } });
      it.encryptor.resolveError = error;
      it.status.start();
      await assert.rejects(it.status.current(anyTime), KeyUnavailableError);
      assert.equal(it.status.snapshot().state, "permanent");
    });
  }

  test("that leads to a key which is not active keeps the current key, which is another", async (t) => {
    const it = setup(t, { key: { label: "kek" } });
    it.status.start();
    await it.nextProbe();
    it.encryptor.resolveError = new ProviderError("KEY_NOT_ACTIVE", "PreActive", {
      details: { keyId: "key-2" },
    });
    await untilState(it, "grace");
    assert.equal(await it.status.encryptionKey(anyTime), "key-1");
  });

  test("that leads to the current key, which is not active any more, is permanent though Encrypt still works", async (t) => {
    const it = setup(t, { key: { label: "kek" } });
    it.status.start();
    await it.nextProbe();
    it.encryptor.resolveError = new ProviderError("KEY_NOT_ACTIVE", "Deactivated", {
      details: { keyId: "key-1" },
    });
    await untilState(it, "permanent");
  });
});

test("each change of state is reported once, to the observer and to the listeners", async (t) => {
  const it = setup(t, { graceMs: 0 });
  const heard: string[] = [];
  const stopListening = it.status.onState((now) => heard.push(now.state));
  it.status.start();
  await it.nextProbe();
  it.encryptor.resolveError = unreachable;
  await untilState(it, "transient");
  it.encryptor.resolveError = notActive;
  await untilState(it, "permanent");
  it.encryptor.resolveError = undefined;
  await untilState(it, "ok");
  stopListening();
  const told = it.events.filter((event) => event.type === "state").map(({ from, now }) => [from, now.state]);
  assert.deepEqual(told, [
    ["unknown", "ok"],
    ["ok", "transient"],
    ["transient", "permanent"],
    ["permanent", "ok"],
  ]);
  assert.deepEqual(heard, ["ok", "transient", "permanent", "ok"]);
});

test("after failures the pause between probes grows, and a healthy KMS is probed at the interval", async (t) => {
  const it = setup(t, { probeIntervalMs: 60_000 });
  it.encryptor.resolveError = unreachable;
  it.status.start();
  await it.nextProbe();
  const started = performance.now();
  await it.nextProbe();
  assert.ok(performance.now() - started >= 850, "the first pause is about a second");
  it.encryptor.resolveError = undefined;
  await it.nextProbe();
  assert.equal(it.status.snapshot().state, "ok");
  assert.ok(performance.now() - started < 5000, "and a recovery is noticed within 5 s");
});

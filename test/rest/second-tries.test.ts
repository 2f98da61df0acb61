/** Second tries under load: many calls that ask again at once must harm neither this process nor the KMS. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seed, startWithKey, withCode, within } from "./harness.ts";

test("second tries that are given up the moment the first is answered never stop the process", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  const load = async (callers: number, calls: number, budgetMs: number): Promise<void> => {
    const caller = async (): Promise<void> => {
      for (let call = 0; call < calls; call += 1)
        await watched.encryptor
          .encrypt(seed, keyId, within(budgetMs))
          .catch(withCode(/^(?:TIMEOUT|OVERLOADED)$/));
    };
    await Promise.all(Array.from({ length: callers }, caller));
  };
  for (let round = 0; round < 4; round += 1) {
    kms.faults.delayMs = 0;
    await load(1, 40, 5_000);
    // Just over a third of the budget: each reply comes while its second try is being sent.
    kms.faults.delayMs = 230;
    await load(64, 3, 600);
  }
  kms.faults.delayMs = 0;
  await watched.encryptor.encrypt(seed, keyId, within(5_000));
});

test("200 callers before a KMS that falls silent do not flood it, keep their time, and are served again", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  kms.faults.silent = true;
  const calls = Array.from({ length: 200 }, () => watched.encryptor.encrypt(seed, keyId, within(2_500)));
  const results = await Promise.allSettled(calls);
  assert.ok(results.every((result) => result.status === "rejected" && withCode("TIMEOUT")(result.reason)));
  const sent = watched.events.filter(
    (event) => event.type === "message" && event.direction === "sent",
  ).length;
  assert.ok(sent <= 200 + 64 * 5, `${sent} requests were sent`);
  kms.faults.silent = false;
  await watched.encryptor.encrypt(seed, keyId, within(5_000));
});

test("A server that requires HTTP/1.1 for its requests is asked in it from then on, and no call fails", async (t) => {
  const { kms, keyId, watched } = await startWithKey(t);
  kms.faults.http1Required = true;
  const calls = Array.from({ length: 8 }, () => watched.encryptor.encrypt(seed, keyId, within(2_000)));
  assert.equal((await Promise.all(calls)).length, 8);
  const since = watched.events.length;
  await watched.encryptor.encrypt(seed, keyId, within(2_000));
  const again = watched.events.slice(since).filter(({ type }) => type === "exchange");
  assert.equal(again.length, 1, "the next one is not refused first");
});

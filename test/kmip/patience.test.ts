/** Patience: how long a reply is waited for, by what came before it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createPatience, type Patience } from "../../src/kmip/patience.ts";

async function replyAfter(patience: Patience, ms: number): Promise<void> {
  await patience.timed(() => sleep(ms))();
}

test("Before the first reply a third of the caller's time is waited, and 5 s at the most", () => {
  const patience = createPatience();
  assert.equal(patience.withSilence(3000), 1000);
  assert.equal(patience.withSilence(60_000), 5000);
  assert.equal(patience.withSilence(Infinity), 5000);
});

test("After quick replies a quarter of a second is waited, and never more than a third of what is left", async () => {
  const patience = createPatience();
  for (let nth = 0; nth < 3; nth += 1) await replyAfter(patience, 1);
  assert.equal(patience.withSilence(10_000), 250);
  assert.equal(patience.withSilence(180), 60);
  assert.equal(patience.withSilence(100), 50);
});

test("After slow replies a multiple of them is waited", async () => {
  const patience = createPatience();
  for (let nth = 0; nth < 3; nth += 1) await replyAfter(patience, 200);
  const waited = patience.withSilence(10_000);
  assert.ok(waited >= 390 && waited < 5000, `${waited} ms`);
});

test("A caller with next to no time left waits for the reply and joins no other try", async () => {
  const patience = createPatience();
  for (const leftMs of [150, 60, 20, 1, 0, -5]) assert.equal(patience.withSilence(leftMs), 50);
  await replyAfter(patience, 1);
  assert.equal(patience.withSilence(20), 50);
});

test("A failure says nothing of how long replies take", async () => {
  const patience = createPatience();
  const failing = patience.timed(() => Promise.reject(new Error("lost")));
  await assert.rejects(failing(), { message: "lost" });
  assert.equal(patience.withSilence(3000), 1000);
});

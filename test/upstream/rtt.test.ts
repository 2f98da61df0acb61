/** The RTT estimator: from when on a reply is late, by the replies before it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRttEstimator } from "../../src/upstream/rtt.ts";

interface Case {
  readonly after: string;
  readonly replies: readonly number[];
  readonly leftMs: number;
  /** In ms, rounded. */
  readonly silence: number;
  readonly reply: number;
}

const always = (ms: number): number[] => Array.from({ length: 50 }, () => ms);

const cases: readonly Case[] = [
  { after: "no reply yet", replies: [], leftMs: 30_000, silence: 1000, reply: 1000 },
  {
    after: "no reply yet, and without a deadline",
    replies: [],
    leftMs: Infinity,
    silence: 1000,
    reply: 1000,
  },
  { after: "no reply yet, with 600 ms left", replies: [], leftMs: 600, silence: 200, reply: 1000 },
  { after: "quick replies", replies: always(5), leftMs: 30_000, silence: 250, reply: 250 },
  { after: "quick replies, with 600 ms left", replies: always(5), leftMs: 600, silence: 200, reply: 250 },
  { after: "quick replies, with 60 ms left", replies: always(5), leftMs: 60, silence: 50, reply: 250 },
  { after: "quick replies, without time left", replies: always(5), leftMs: -10, silence: 50, reply: 250 },
  { after: "one reply of 800 ms", replies: [800], leftMs: 30_000, silence: 2400, reply: 2400 },
  {
    after: "replies of 800 ms, with 3 s left",
    replies: always(800),
    leftMs: 3000,
    silence: 1000,
    reply: 1600,
  },
  {
    after: "replies of 2 s, with 30 s left",
    replies: always(2000),
    leftMs: 30_000,
    silence: 4000,
    reply: 4000,
  },
  { after: "replies of 2 s, with 3 s left", replies: always(2000), leftMs: 3000, silence: 2000, reply: 4000 },
  {
    after: "replies of 1.2 s, with 3 s left",
    replies: always(1200),
    leftMs: 3000,
    silence: 1500,
    reply: 2400,
  },
  { after: "replies of 20 s", replies: always(20_000), leftMs: 60_000, silence: 5000, reply: 5000 },
];

for (const { after, replies, leftMs, silence, reply } of cases)
  test(`After ${after} a silence of ${silence} ms is too long, and a reply late after ${reply} ms`, () => {
    const rtt = createRttEstimator();
    for (const ms of replies) rtt.observe(ms);
    assert.equal(Math.round(rtt.silenceAfterMs(leftMs)), silence);
    assert.equal(Math.round(rtt.lateAfterMs()), reply);
  });

test("A single reply that takes long is soon forgotten", () => {
  const rtt = createRttEstimator();
  for (const ms of [...always(5), 3000]) rtt.observe(ms);
  assert.ok(rtt.lateAfterMs() > 2000);
  for (const ms of always(5)) rtt.observe(ms);
  assert.equal(rtt.lateAfterMs(), 250);
});

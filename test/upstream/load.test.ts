/** The pace of an endpoint: what is measured of it, and what an outage must not do to it. */
import assert from "node:assert/strict";
import { beforeEach, describe, mock, test } from "node:test";
import { createLoad, overloadOf } from "../../src/upstream/load.ts";

let now = 1_000_000;
mock.method(performance, "now", () => now);

/** So many replies, one each `everyMs`. */
function reply(load: ReturnType<typeof createLoad>, count: number, everyMs: number): void {
  for (let index = 0; index < count; index += 1) {
    now += everyMs;
    load.replied(everyMs, 3000, false);
  }
}

describe("The pace of an endpoint", () => {
  beforeEach(() => {
    now += 60_000;
  });

  test("is the time between its replies", () => {
    const load = createLoad();
    load.enter();
    reply(load, 200, 20);
    assert.equal(Math.round(load.workMs(10)), 200);
  });

  // Calls wait from before the outage to after it, so that the endpoint is never without any.
  for (const before of [3, 10, 15, 16, 40, 200])
    for (const outageMs of [400, 900, 1_100, 8_000, 11_000, 60_000])
      test(`after ${before} replies, an outage of ${outageMs} ms and 9 replies holds nothing of the outage`, () => {
        const load = createLoad();
        for (let index = 0; index < 30; index += 1) load.enter();
        reply(load, before, 20);
        now += outageMs;
        reply(load, 9, 20);
        assert.ok(load.workMs(10) <= 201, `${load.workMs(10)} ms for 10 requests`);
        const endpoint = { name: "a:1", load, pool: { isFull: true } };
        assert.equal(overloadOf(endpoint, 3000), undefined);
      });

  test("is not slower for a silence that goes on", () => {
    const load = createLoad();
    load.enter();
    reply(load, 9, 20);
    now += 900;
    assert.equal(Math.round(load.workMs(10)), 200);
  });

  test("is steady once 8 replies have come, and no longer after a pause", () => {
    const load = createLoad();
    const beganAt = now;
    reply(load, 7, 20);
    assert.equal(load.isSteadySince(beganAt), false);
    reply(load, 1, 20);
    assert.equal(load.isSteadySince(beganAt), true);
    now += 1_100;
    assert.equal(load.isSteadySince(beganAt), false);
    reply(load, 8, 20);
    assert.equal(load.isSteadySince(beganAt), false);
  });
});

/** The short form of `npm run chaos`: every fault once, both protocols side by side, in about a minute. */
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { after, describe, test } from "node:test";
import { preamble, reportLines } from "./report.ts";
import { runChaos } from "./run.ts";

/** Beside other tests on the same cores; `npm run chaos`, which has the machine for itself, holds the plugin to less. */
const allowances = { lateLimitMs: 250, healthyForMs: 1500 };
const seed = randomInt(2 ** 31);

describe(
  "Through every fault no call fails that need not, and Status is right",
  { concurrency: true },
  () => {
    after(endForSure);
    for (const protocol of ["kmip", "rest"] as const)
      test(`over ${protocol}`, async (t) => {
        const report = await runChaos({ protocol, seed, ...allowances, print: (line) => t.diagnostic(line) });
        for (const line of [preamble(seed), ...reportLines(report)]) t.diagnostic(line);
        assert.deepEqual(report.wrong, [], `npm run chaos -- --minutes 0 --seed ${seed} does the same again`);
        assert.ok(report.encrypts > 100 && report.decrypts > 100, "the callers called");
      });
  },
);

/** A connection that hangs for good would keep this process, and with it all tests that wait for its end. */
function endForSure(): void {
  setTimeout(() => {
    console.error("chaos holds on to", process.getActiveResourcesInfo());
    process.exit();
  }, 5000).unref();
}

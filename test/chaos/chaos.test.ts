/** The short form of `npm run chaos`: every fault once, both protocols side by side, in about a minute. */
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { describe, test } from "node:test";
import { preamble, reportLines } from "./report.ts";
import { runChaos } from "./run.ts";

/** Beside other tests on the same cores; `npm run chaos`, which has the machine for itself, holds the plugin to less. */
const allowances = { lateLimitMs: 250, healthyForMs: 1500 };
const seed = randomInt(2 ** 31);

describe(
  "Through every fault no call fails that need not, and Status is right",
  { concurrency: true },
  () => {
    for (const protocol of ["kmip", "rest"] as const)
      test(`over ${protocol}`, async (t) => {
        const lines: string[] = [];
        const report = await runChaos({ protocol, seed, ...allowances, print: (line) => lines.push(line) });
        for (const line of [preamble(seed), ...lines, ...reportLines(report)]) t.diagnostic(line);
        const again = `npm run chaos -- --minutes 0 --seed ${seed} does the same again`;
        assert.deepEqual(report.wrong, [], [again, ...lines].join("\n"));
        assert.ok(report.encrypts > 100 && report.decrypts > 100, "the callers called");
      });
  },
);

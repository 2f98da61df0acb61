/**
 * `npm run chaos`: both protocols side by side for 10 minutes, or `--minutes N`; `--seed N` for the same again;
 * `--protocol kmip` for one alone. A line for each fault, a table, exit code 1 where something was that must not be.
 * `--odd`: servers that do what some real ones do, one after another, each for `--seconds N` (60).
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { runOdd } from "./odd.ts";
import { preamble, reportLines } from "./report.ts";
import { runChaos } from "./run.ts";
import type { Protocol } from "./world.ts";

// With the exit of this process the plugins end, too.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string", default: String(randomInt(2 ** 31)) },
    protocol: { type: "string" },
    odd: { type: "boolean", default: false },
    seconds: { type: "string", default: "60" },
  },
});
if (values.odd) {
  const odd = await runOdd(Number(values.seconds) * 1000, console.log);
  process.exit(odd.every(({ isRight }) => isRight) ? 0 : 1);
}
const seed = Number(values.seed);
const forMs = Number(values.minutes) * 60_000;
if (!Number.isInteger(seed) || !Number.isFinite(forMs))
  throw new Error("--seed takes a whole number, --minutes a number");

const protocols = (["kmip", "rest"] as const satisfies Protocol[]).filter(
  (protocol) => protocol === (values.protocol ?? protocol),
);
console.log(preamble(seed));
const reports = await Promise.all(
  protocols.map((protocol) => runChaos({ protocol, seed, forMs, print: console.log })),
);
for (const report of reports) console.log(reportLines(report).join("\n"));
// Not by an empty event loop: see test/support/end-for-sure.ts.
process.exit(reports.every(({ wrong }) => wrong.length === 0) ? 0 : 1);

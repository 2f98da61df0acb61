/** Failures that nobody caught: logged, counted, never the end of the process. In a process of their own. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { watchPauses } from "../../src/cli/serve/process.ts";
import { createMemoryLogger } from "../server/harness.ts";

const root = path.join(import.meta.dirname, "../..");

/** Runs a script with a guarded process; `log` is the JSON log, `count` what was counted. */
function runGuarded(script: string): { code: number | null; stdout: string; log: Record<string, unknown>[] } {
  const text = `
    const { guardProcess } = await import(${JSON.stringify(path.join(root, "src/cli/serve/process.ts"))});
    const { createLogger } = await import(${JSON.stringify(path.join(root, "src/log/log.ts"))});
    let count = 0;
    guardProcess(createLogger({ level: "info", format: "json" }), { rejected: () => { count += 1; } });
    ${script}
    setTimeout(() => console.log("still here", count), 50);`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", text], {
    encoding: "utf8",
  });
  const lines = stderr.split("\n").filter((line) => line !== "");
  return { code: status, stdout, log: lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

for (const [what, script, origin] of [
  ["an exception in a timer", `setTimeout(() => { throw new TypeError("boom"); }, 1);`, "uncaughtException"],
  [
    "an error event without a listener",
    `setTimeout(() => process.emit("error", new Error("boom")), 1);`,
    "uncaughtException",
  ],
  ["a rejection that nobody handles", `void Promise.reject(new Error("boom"));`, "unhandledRejection"],
  ["a rejection with no error at all", `void Promise.reject("boom");`, "unhandledRejection"],
] as const)
  test(`${what} is logged and counted, and the process goes on`, () => {
    const { code, stdout, log } = runGuarded(script);
    assert.deepEqual([code, stdout], [0, "still here 1\n"]);
    assert.equal(log.length, 1);
    assert.equal(log[0]?.["level"], "error");
    assert.equal(log[0]?.["origin"], origin);
    assert.match(String(log[0]?.["error"]), /boom/);
  });

test("a storm of failures is counted in full and logged once", () => {
  const { stdout, log } = runGuarded(
    `for (let index = 0; index < 500; index += 1) void Promise.reject(new Error("boom " + index));`,
  );
  assert.equal(stdout, "still here 500\n");
  assert.equal(log.length, 1);
});

test("a warning of Node's is a line of the log, and not text beside it", () => {
  const { log } = runGuarded(`process.emitWarning("old ways", "DeprecationWarning", "DEP0001");`);
  assert.deepEqual(
    log.map(({ level, msg, reason }) => [level, msg, reason]),
    [["warn", "Node warns", "old ways"]],
  );
});

test("a process that did not run for seconds says so, once, with how long", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const logger = createMemoryLogger();
  let at = 0;
  watchPauses(logger, () => at);
  for (const ms of [1000, 4900, 20_000, 1000]) {
    at += ms;
    t.mock.timers.tick(1000);
  }
  assert.deepEqual(
    logger.lines.map(({ level, message, fields }) => [level, message.split(":")[0], fields["lasted"]]),
    [["warn", "the process did not run", "20 s"]],
  );
});

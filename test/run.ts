/**
 * `npm test`: lint, types, a gen/ that is not stale, the build, then every *.test.ts. Ends with one line,
 * `N passed, N failed`. With CI=true a skipped test counts as a failure.
 */
import { spawnSync } from "node:child_process";
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { finished } from "node:stream/promises";
import { run } from "node:test";
import { spec } from "node:test/reporters";

const root = path.dirname(import.meta.dirname);
process.chdir(root);
const isCi = process.env["CI"] === "true";
let passed = 0;
let failed = 0;

/** Counts a step that is not a node:test test as one. */
function step(name: string, ok: boolean, output = ""): void {
  console.log(`${ok ? "✔" : "✖"} ${name}`);
  if (!ok && output !== "") console.log(output);
  if (ok) passed += 1;
  else failed += 1;
}

/** Runs an npm script, with its output shown only where it fails. */
function script(name: string): void {
  const result = spawnSync("npm", ["run", "--silent", name], { encoding: "utf8" });
  step(`npm run ${name}`, result.status === 0, `${result.stdout}${result.stderr}`);
}

/** All files below a folder, path to content. */
function contents(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  const pairs = files.map((entry) => {
    const file = path.join(entry.parentPath, entry.name);
    return [path.relative(folder, file), readFileSync(file, "utf8")] as const;
  });
  return new Map(pairs.toSorted(([a], [b]) => a.localeCompare(b)));
}

/** gen/ is stale where generating it anew gives something else. */
function checkGenerated(): void {
  const fresh = mkdtempSync(path.join(tmpdir(), "okms-gen-"));
  const result = spawnSync("buf", ["generate", "-o", fresh], { encoding: "utf8" });
  const before = contents("gen");
  const after = result.status === 0 ? contents(path.join(fresh, "gen")) : new Map<string, string>();
  rmSync(fresh, { recursive: true });
  const stale = [...new Set([...before.keys(), ...after.keys()])].filter(
    (file) => before.get(file) !== after.get(file),
  );
  const why = result.status === 0 ? `stale: ${stale.join(", ")}; run \`npm run gen\`` : result.stderr;
  step("gen/ is what `npm run gen` makes", result.status === 0 && stale.length === 0, why);
}

const only = process.argv.slice(2);
if (only.length === 0) {
  script("lint");
  script("types");
  checkGenerated();
}
script("build");

const files = only.length === 0 ? globSync("test/**/*.test.ts").toSorted() : only;
const stream = run({
  files: files.map((file) => path.resolve(file)),
  concurrency: Math.max(2, availableParallelism()),
  timeout: 180_000,
  execArgv: ["--import", path.resolve("test/support/end-for-sure.ts")],
});
stream.on("test:summary", ({ file, counts }) => {
  if (file !== undefined) return;
  passed += counts.passed;
  failed += counts.tests - counts.passed - counts.skipped - counts.todo;
  if (counts.skipped + counts.todo > 0) {
    console.log(`${counts.skipped} skipped${isCi ? ": with CI=true a skipped test has failed" : ""}`);
    if (isCi) failed += counts.skipped + counts.todo;
  }
});
const output = stream.compose(spec);
output.pipe(process.stdout, { end: false });
await finished(output);

process.exitCode = failed === 0 ? 0 : 1;
console.log(`${passed} passed, ${failed} failed`);

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
/** So many files that failed are run once more, alone; where more have failed it is not for want of time. */
const mostAgain = 3;
let passed = 0;
let failed = 0;

/** How the tests of one file ended. */
interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

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

function fromRoot(file: string): string {
  return path.relative(root, file);
}

/** Runs test files, so many at a time, with their results shown. */
async function runFiles(files: string[], concurrency: number): Promise<Map<string, Counts>> {
  const results = new Map(
    files.map((file): [string, Counts] => [file, { passed: 0, failed: 0, skipped: 0 }]),
  );
  const stream = run({
    files,
    concurrency,
    timeout: 180_000,
    execArgv: ["--import", path.resolve("test/support/end-for-sure.ts")],
  });
  stream.on("test:fail", ({ file }) => {
    // A file that ends before its tests gives no summary; where there is one, it comes later.
    if (file !== undefined) results.set(file, { passed: 0, failed: 1, skipped: 0 });
  });
  stream.on("test:summary", ({ file, counts }) => {
    if (file === undefined) return;
    const skipped = counts.skipped + counts.todo;
    results.set(file, { passed: counts.passed, failed: counts.tests - counts.passed - skipped, skipped });
  });
  const output = stream.compose(spec);
  output.pipe(process.stdout, { end: false });
  await finished(output);
  return results;
}

const only = process.argv.slice(2);
if (only.length === 0) {
  script("lint");
  script("types");
  checkGenerated();
}
script("build");

const all = (only.length === 0 ? globSync("test/**/*.test.ts").toSorted() : only).map((file) =>
  path.resolve(file),
);
const first = await runFiles(all, Math.max(2, availableParallelism()));
let results = [...first.values()];
const again = [...first].filter(([, counts]) => counts.failed > 0).map(([file]) => file);
if (only.length === 0 && again.length > 0 && again.length <= mostAgain) {
  // A test that measures time may fail because the test file beside it took the processor.
  console.log(`\nonce more, one after the other: ${again.map(fromRoot).join(", ")}`);
  const second = await runFiles(again, 1);
  results = [...new Map([...first, ...second]).values()];
  const flaky = again.filter((file) => second.get(file)?.failed === 0);
  if (flaky.length > 0)
    console.log(`flaky (failed among others, passed alone): ${flaky.map(fromRoot).join(", ")}`);
}
const skipped = results.reduce((sum, counts) => sum + counts.skipped, 0);
passed += results.reduce((sum, counts) => sum + counts.passed, 0);
failed += results.reduce((sum, counts) => sum + counts.failed, isCi ? skipped : 0);
if (skipped > 0) console.log(`${skipped} skipped${isCi ? ": with CI=true a skipped test has failed" : ""}`);

process.exitCode = failed === 0 ? 0 : 1;
console.log(`${passed} passed, ${failed} failed`);

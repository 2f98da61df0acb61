/**
 * Nothing that is in a Secret, and no seed and no key, is printed by audit, by a log, or by an error: the built program
 * over the fixture, over values that are damaged, and over input that is something else. Only recover's own output has it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createReadStream, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { openLocalSeeds, damagedCopies } from "../etcd/damage.ts";
import { expectedObjects, fixture, startFixtureKms } from "../etcd/fixture.ts";
import { auditCommand } from "../../src/cli/audit.ts";
import { recoverCommand } from "../../src/cli/recover.ts";
import { runCommand } from "../cli/run-command.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { temporaryFolder } from "../server/harness.ts";
import { findSecrets, type Secret } from "../support/secret-search.ts";
import { programs } from "./program.ts";
import { flagList, kmipFlagsOf, serving } from "./serving.ts";

let kms: DevKms;
let secrets: Secret[];
before(async () => {
  kms = await startFixtureKms();
  secrets = [
    ...expectedObjects().flatMap(({ list, item }) =>
      list === "/api/v1/secrets"
        ? Object.entries(item.data ?? {}).map(([field, value]) => ({
            name: `${item.ns}/${item.name} ${field}`,
            bytes: Buffer.from(value, "base64"),
          }))
        : [],
    ),
    ...kms.keys.list().map(({ id, material }) => ({ name: `key ${id}`, bytes: material })),
    ...openLocalSeeds(kms),
  ].filter(({ bytes }) => bytes.length >= 12);
});
after(() => kms.close());

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the built program with a file, or a text, as its standard input. */
async function run(args: readonly string[], input?: string | { readonly file: string }): Promise<Ended> {
  const child = spawn(process.execPath, [programs.built, ...args], {
    env: { PATH: process.env["PATH"] },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (text: string) => {
      texts[name] += text;
    });
  // It may leave before it has read everything.
  child.stdin.on("error", () => undefined);
  if (typeof input === "object") createReadStream(input.file).pipe(child.stdin);
  else child.stdin.end(input ?? "");
  const code = await new Promise<number | null>((resolve) => {
    child.once("close", resolve);
  });
  return { code, ...texts };
}

function flags(): string[] {
  const { "encryption-key-label": _unused, ...own } = kmipFlagsOf(kms);
  return flagList(own);
}

function assertClean(text: string, what: string): void {
  assert.deepEqual(findSecrets(text, secrets), [], what);
}

test("what is looked for would be found: recover's output has it", async () => {
  const { stdout, stderr } = await run([
    "recover",
    "--snapshot",
    fixture.snapshot,
    "--resource",
    "secrets",
    ...flags(),
  ]);
  assert.ok(findSecrets(stdout, secrets).some((found) => found.startsWith("team-a/a-1 password")));
  assertClean(stderr, "recover's standard error");
});

test("audit prints nothing secret, in any form", async (t) => {
  const textfile = path.join(temporaryFolder(t), "audit.prom");
  for (const args of [
    [],
    ["--json"],
    ["--verify", ...flags()],
    ["--verify", "--json", "--textfile", textfile, ...flags()],
    ["--key", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"],
  ]) {
    const { code, stdout, stderr } = await run(["audit", "--snapshot", fixture.snapshot, ...args]);
    assert.equal(code, 1);
    assert.equal(stderr, "");
    assertClean(stdout, args.join(" "));
  }
  assertClean(readFileSync(textfile, "utf8"), "metrics");
});

test("audit reads what etcdctl prints from standard input", async () => {
  const { code, stdout } = await run(["audit", "-", "--json"], { file: fixture.live });
  assert.equal(code, 1);
  const { sources } = JSON.parse(stdout) as { sources: { coldStartDecrypts: number }[] };
  assert.equal(sources[0]?.coldStartDecrypts, 6);
  assertClean(stdout, "standard input");
});

test("a plugin at trace logs no seed while audit and recover use it", async (t) => {
  const label = { ...kmipFlagsOf(kms), "encryption-key-label": "k8s-kek" };
  const { program, sock } = await serving(t, flagList({ ...label, "log-level": "trace" }));
  const audited = await run(["audit", "--verify", "--snapshot", fixture.snapshot, "--sock", sock]);
  const recovered = await run(["recover", "--all", "--snapshot", fixture.snapshot, "--sock", sock]);
  program.kill("SIGTERM");
  const { stdout, stderr } = await program.ended;
  assert.match(stderr, /message sent/);
  assertClean(
    [stdout, stderr, audited.stdout, audited.stderr, recovered.stderr].join("\n"),
    "the plugin's log",
  );
});

test("an error quotes nothing of what could not be read", async (t) => {
  const folder = temporaryFolder(t);
  const key = ["--key-path", "/registry/secrets/a/b"];
  for (const [name, bytes] of damagedCopies()) {
    const file = path.join(folder, name);
    writeFileSync(file, bytes);
    // In this process, which is faster by far.
    for (const [command, ...args] of [
      [auditCommand, "--snapshot", file, "--verify", ...flags()],
      [auditCommand, "--snapshot", file, "--skip-hash-check", "--json", "--verify", ...flags()],
      [auditCommand, "--kine", file],
      [auditCommand, "--value", file, ...key, "--verify", ...flags()],
    ] as const) {
      const { stdout, stderr } = await runCommand(command, args);
      assertClean(`${stdout}\n${stderr}`, `${name}: ${args.join(" ")}`);
    }
    const { stderr } = await runCommand(recoverCommand, ["--value", file, ...key, ...flags()]);
    assertClean(stderr, `${name}: recover`);
  }
});

test("standard input that is no JSON of etcdctl's is not quoted", async (t) => {
  const folder = temporaryFolder(t);
  for (const [name, bytes] of damagedCopies()) {
    if (!/json|kvs|plain-cut/.test(name)) continue;
    const file = path.join(folder, name);
    writeFileSync(file, bytes);
    const command = name.includes("cut") ? ["audit", "-"] : ["recover", "-", "--all"];
    const { code, stdout, stderr } = await run(command, { file });
    assert.equal(code, 1);
    assert.match(stdout + stderr, /standard input is not what `etcdctl get --prefix -w json` prints/);
    assertClean(`${stdout}\n${stderr}`, `${name}: ${command.join(" ")}`);
  }
});

test("files that cannot be written, and a KMS that is away, show nothing", async (t) => {
  const out = await firstOut(t);
  const again = await run(["recover", "--all", "--snapshot", fixture.snapshot, "--out", out, ...flags()]);
  assert.match(again.stderr, /is there already/);
  assert.equal(again.stdout, "");
  const file = await run([
    "recover",
    "--all",
    "--snapshot",
    fixture.snapshot,
    "--out",
    fixture.live,
    ...flags(),
  ]);
  assert.equal(file.code, 1);
  await kms.stop();
  const away = await run([
    "recover",
    "--all",
    "--snapshot",
    fixture.snapshot,
    ...flags(),
    "--timeout",
    "300ms",
  ]);
  await kms.start();
  assert.equal(away.code, 1);
  assertClean([again.stderr, file.stderr, file.stdout, away.stderr].join("\n"), "errors");
});

async function firstOut(t: TestContext): Promise<string> {
  const out = path.join(temporaryFolder(t), "out");
  mkdirSync(out);
  const { stdout, stderr } = await run([
    "recover",
    "--all",
    "--snapshot",
    fixture.snapshot,
    "--out",
    out,
    ...flags(),
  ]);
  assert.equal(stdout, "");
  assertClean(stderr, "recover --out");
  return out;
}

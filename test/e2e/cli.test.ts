/** The command line of the built program, as a process: what is printed where, and the exit code. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { serveFlags } from "../../src/cli/serve-flags.ts";
import { programs, runProgram } from "./program.ts";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};
const kinds = Object.keys(programs) as (keyof typeof programs)[];

for (const program of kinds) {
  test(`${program}: no argument at all prints the usage on stderr and ends with 0`, async (t) => {
    const { code, stdout, stderr } = await runProgram(t, [], { program });
    assert.equal(code, 0);
    assert.equal(stdout, "");
    assert.match(stderr, /^.+\n\nUsage: okms-k8s-encryption-provider \[COMMAND\] \[FLAGS\]\n/);
  });

  test(`${program}: --version prints name and version on stdout`, async (t) => {
    const { code, stdout, stderr } = await runProgram(t, ["--version"], { program });
    assert.deepEqual([code, stdout, stderr], [0, `okms-k8s-encryption-provider ${version}\n`, ""]);
  });

  test(`${program}: a wrong command line tells everything at once and ends with 2`, async (t) => {
    const args = ["-protocl=kmip", "--debug=x", "--timeout", "5", "spare", "--encryption-key-id", "a"];
    const env = {
      OKMS_KEY_LABEL: "b",
      OKMS_SERV_ADDR: "https://kms",
      OKMS_CLIENT_CERT: "",
      OKMS_REPLACE: "perhaps",
    };
    const { code, stdout, stderr } = await runProgram(t, args, { program, env });
    assert.deepEqual([code, stdout], [2, ""]);
    assert.deepEqual(stderr.split("\n"), [
      'Unknown flag "-protocl": did you mean --protocol?',
      'Invalid value for --debug: "x" is not true or false',
      'Unexpected argument "spare"',
      "Missing required flag --protocol: must be one of: rest, kmip",
      'Invalid value for OKMS_REPLACE: "perhaps" is not true or false',
      'Invalid value for --timeout: "5" is not a duration such as "10s", "1m30s" or "500ms"',
      "Flag conflict: use --encryption-key-id or --encryption-key-label, not both (OKMS_KEY_LABEL set in the environment)",
      "Missing required flag --client-cert: a PEM file for mutual TLS",
      "Missing required flag --client-key: a PEM file for mutual TLS",
      "See okms-k8s-encryption-provider --help",
      "",
    ]);
  });
}

test("the usage without an argument is the help", async (t) => {
  const [usage, help] = await Promise.all([runProgram(t, []), runProgram(t, ["--help"])]);
  assert.equal(help.stdout, usage.stderr);
});

test("an environment that says it all does not change what no argument means", async (t) => {
  const { code, stderr } = await runProgram(t, [], { env: { OKMS_PROTOCOL: "kmip" } });
  assert.equal(code, 0);
  assert.match(stderr, /^Usage: /m);
});

for (const args of [
  ["-version"],
  ["serve", "--version"],
  ["--protocol", "x", "--version"],
  ["probe", "-version"],
])
  test(`${args.join(" ")} prints the version`, async (t) => {
    const { code, stdout } = await runProgram(t, args);
    assert.deepEqual([code, stdout], [0, `okms-k8s-encryption-provider ${version}\n`]);
  });

for (const flag of ["--help", "-help", "-h", "--h"])
  test(`${flag} prints the help on stdout and ends with 0`, async (t) => {
    const { code, stdout, stderr } = await runProgram(t, ["--bogus", flag]);
    assert.deepEqual([code, stderr], [0, ""]);
    const groups = ["COMMANDS", "SERVER", "KEY", "REST ONLY", "AUTHENTICATION", "ADVANCED"];
    const places = groups.map((group) => stdout.indexOf(`\n${group}\n`));
    assert.ok(
      places.every((place) => place > 0),
      String(places),
    );
    assert.deepEqual(
      places,
      places.toSorted((a, b) => a - b),
    );
  });

test("the help names every flag with its variable, and none that is hidden, in at most 110 columns", async (t) => {
  const { stdout } = await runProgram(t, ["--help"]);
  // Joined again where it was wrapped.
  const joined = stdout.replaceAll(/\n {32}/g, " ");
  for (const [name, flag] of Object.entries(serveFlags)) {
    if ("hidden" in flag) assert.doesNotMatch(joined, new RegExp(`--${name}\\b`));
    else assert.match(joined, new RegExp(`^ {2}--${name}\\b.*\\$${flag.env}\\]$`, "m"));
  }
  assert.deepEqual(
    stdout.split("\n").filter((line) => line.length > 110),
    [],
  );
});

for (const command of ["serve", "check", "probe", "config"])
  test(`${command} --help prints that command's own flags`, async (t) => {
    const { code, stdout } = await runProgram(t, [command, "--help"]);
    assert.equal(code, 0);
    assert.match(
      stdout,
      new RegExp(`^Usage: okms-k8s-encryption-provider ${command}\\b.* \\[FLAGS\\]$`, "m"),
    );
    assert.match(stdout, /^ {2}--sock /m);
  });

for (const command of ["help", "help probe"])
  test(`${command} prints what --help prints`, async (t) => {
    const { code, stdout } = await runProgram(t, command.split(" "));
    const asked = await runProgram(t, [...command.split(" ").slice(1), "--help"]);
    assert.deepEqual([code, stdout], [0, asked.stdout]);
  });

for (const args of [
  "--help",
  "--version",
  "probe --sock=/nowhere",
  "probe --sock=/nowhere --watch --interval=100ms",
])
  test(`${args} | true: ends without a word where nobody reads`, () => {
    const script = `"$0" "$1" ${args} | true`;
    const { status, signal, stderr } = spawnSync("sh", ["-c", script, process.execPath, programs.source], {
      encoding: "utf8",
      timeout: 20_000,
    });
    assert.deepEqual([status, signal, stderr], [0, null, ""]);
  });

for (const [word, complaint] of [
  ["prob", 'Unknown command "prob": did you mean probe?'],
  ["chek", 'Unknown command "chek": did you mean check?'],
  ["kmip", 'Unknown command "kmip"'],
  ["version", 'Unknown command "version": did you mean --version?'],
] as const)
  test(`"${word}" is no command: that alone is said, and the one that it resembles`, async (t) => {
    const { code, stdout, stderr } = await runProgram(t, [word, "--protocl", "kmip"]);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.equal(stderr, `${complaint}\nSee okms-k8s-encryption-provider --help\n`);
  });

test("a wrong flag of a command points to that command's help", async (t) => {
  const { code, stderr } = await runProgram(t, ["probe", "--cuont", "3"]);
  assert.equal(code, 2);
  assert.equal(
    stderr,
    'Unknown flag "--cuont": did you mean --count?\nSee okms-k8s-encryption-provider probe --help\n',
  );
});

test("an older Node.js is told what is needed, and not shown a stack", (t) => {
  const old = ["/usr/bin/node", "/usr/local/bin/node"].find((file) => {
    const { stdout } = spawnSync(file, ["--version"], { encoding: "utf8" });
    return /^v(?:2[0-3])\./.test(stdout ?? "");
  });
  if (old === undefined) {
    t.diagnostic("no Node.js of 20 to 23 is here");
    return;
  }
  const { status, stderr } = spawnSync(old, [programs.built, "--version"], { encoding: "utf8" });
  assert.equal(status, 2);
  assert.match(stderr, /^This needs Node\.js 24 or later, and .* is v2\d\.\d+\.\d+\n$/);
});

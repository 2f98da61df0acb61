/** Argument lists, read as Go's flag package reads them; what it would take in silence becomes a complaint. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { asksFor, readArgv } from "../../src/cli/argv.ts";
import type { FlagSet } from "../../src/cli/command.ts";
import { nearest } from "../../src/cli/nearest.ts";
import { serveFlags } from "../../src/cli/serve-flags.ts";

const flags: FlagSet = {
  timeout: { group: "A", type: "string", valueHint: "DURATION", description: "" },
  "serv-addr": { group: "A", type: "string", description: "" },
  debug: { group: "A", type: "boolean", description: "" },
  snapshot: { group: "A", type: "string", description: "", list: true },
  "insecure-http": { group: "A", type: "boolean", description: "", hidden: true },
};

const understood: readonly (readonly [argv: string, args: string])[] = [
  ["", ""],
  ["--timeout 10s", "--timeout=10s"],
  ["--timeout=10s", "--timeout=10s"],
  ["-timeout 10s", "--timeout=10s"],
  ["-timeout=10s", "--timeout=10s"],
  ["--debug", "--debug=true"],
  ["-debug", "--debug=true"],
  ["--debug=true", "--debug=true"],
  ["-debug=0", "--debug=false"],
  ["--debug=F", "--debug=false"],
  ["-debug --timeout 1s", "--debug=true --timeout=1s"],
  ["--timeout 1s --timeout 2s", "--timeout=2s"],
  ["--timeout=a=b", "--timeout=a=b"],
  ["--snapshot a --snapshot=b,c -snapshot d", "--snapshot=a,b,c,d"],
  ["--timeout=", "--timeout="],
  ["--timeout -5s", "--timeout=-5s"],
  ["--timeout - --debug", "--timeout=- --debug=true"],
  ["--insecure-http", "--insecure-http=true"],
];
function split(text: string): string[] {
  return text.split(" ").filter((part) => part !== "");
}
for (const [argv, args] of understood)
  test(`"${argv}" is understood`, () => {
    assert.deepEqual(readArgv(split(argv), flags, 0), { args: [...split(args), "--"], complaints: [] });
  });

const refused: readonly (readonly [argv: string, complaints: readonly string[]])[] = [
  ["--bogus", ['Unknown flag "--bogus"']],
  ["--bogus value", ['Unknown flag "--bogus"']],
  ["--bogus=value", ['Unknown flag "--bogus"']],
  ["-timeut=1s", ['Unknown flag "-timeut": did you mean --timeout?']],
  ["--serv_addr a", ['Unknown flag "--serv_addr": did you mean --serv-addr?']],
  ["--servAddr a", ['Unknown flag "--servAddr": did you mean --serv-addr?']],
  ["--insecure-htt", ['Unknown flag "--insecure-htt"']],
  ["--hlep", ['Unknown flag "--hlep": did you mean --help?']],
  ["-v", ['Unknown flag "-v": did you mean --version?']],
  ["---timeout 1s", ['Unknown flag "---timeout": did you mean --timeout?']],
  ["-=x", ['Unknown flag "-"']],
  ["--no-debug", ['Unknown flag "--no-debug": did you mean --debug?']],
  ["--debug=maybe", ['Invalid value for --debug: "maybe" is not true or false']],
  ["--debug false", ['Unexpected argument "false": a boolean is written --debug=false']],
  ["spare", ['Unexpected argument "spare"']],
  ["-- --timeout", ['Unexpected argument "--timeout"']],
  ["-", ['Unexpected argument "-"']],
  ["--timeout", ["Missing value: flag --timeout needs one (--timeout DURATION)"]],
  ["--timeout --debug", ["Missing value: flag --timeout needs one (--timeout DURATION)"]],
  ["--serv-addr --timeout=1s", ["Missing value: flag --serv-addr needs one (--serv-addr VALUE)"]],
  [
    "--bogus --debug=x spare",
    [
      'Unknown flag "--bogus"',
      'Invalid value for --debug: "x" is not true or false',
      'Unexpected argument "spare"',
    ],
  ],
];
for (const [argv, complaints] of refused)
  test(`"${argv}" is refused, with what it may have meant`, () => {
    assert.deepEqual(readArgv(argv.split(" "), flags, 0).complaints, complaints);
  });

test("what follows a missing value is still read", () => {
  assert.deepEqual(readArgv(["--serv-addr", "--timeout", "1s"], flags, 0).args, ["--timeout=1s", "--"]);
});

test("words that a command takes come last, however many flags are between them", () => {
  const { args, complaints } = readArgv(["one", "--debug", "two", "three"], flags, 2);
  assert.deepEqual(args, ["--debug=true", "--", "one", "two"]);
  assert.deepEqual(complaints, ['Unexpected argument "three"']);
});

test("a name that every object has is no flag", () => {
  for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty"]) {
    assert.deepEqual(readArgv([`--${name}=x`], flags, 0).complaints, [`Unknown flag "--${name}"`]);
    assert.deepEqual(readArgv(["--timeout", `--${name}`], flags, 0).args, [`--timeout=--${name}`, "--"]);
  }
});

test("control characters of a mistyped flag do not reach a terminal", () => {
  const [complaint] = readArgv(["--\u001b[2J"], flags, 0).complaints;
  assert.equal(complaint, String.raw`Unknown flag "--\u001b[2J"`);
});

test("help and version are found with one dash or two, and not after --", () => {
  for (const argv of [["-h"], ["--help"], ["-help"], ["--timeout", "1s", "-h"]])
    assert.ok(asksFor(argv, "help", "h"));
  for (const argv of [["--version"], ["-version"], ["-version=true"], ["--version=1"]])
    assert.ok(asksFor(argv, "version"));
  for (const argv of [["-version=false"], ["--version=maybe"]]) assert.ok(!asksFor(argv, "version"));
  assert.deepEqual(readArgv(["-version=false", "-h=0"], flags, 0).complaints, []);
  for (const argv of [["help"], ["--", "-h"], ["--helpme"]]) assert.ok(!asksFor(argv, "help", "h"));
});

for (const [typed, meant] of [
  ["protcol", "protocol"],
  ["servaddr", "serv-addr"],
  ["server-addr", "serv-addr"],
  ["socket", "sock"],
  ["clientcert", "client-cert"],
  ["key-id", "encryption-key-id"],
  ["key-label", "encryption-key-label"],
  ["encryption-key", "encryption-key-id"],
  ["okmsid", "okms-id"],
  ["loglevel", "log-level"],
] as const)
  test(`--${typed} was meant to be --${meant}`, () => {
    assert.equal(nearest(typed, Object.keys(serveFlags)), meant);
  });

test("a word that resembles nothing gets no suggestion", () => {
  for (const typed of ["noisy", "zzzzzzzz", "y".repeat(10_000)])
    assert.equal(nearest(typed, Object.keys(serveFlags)), undefined, typed.slice(0, 10));
});

test("a key that the shell has made into words is not printed", () => {
  const line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAAAAAAAAAAAAAAAA";
  const words = ["-----BEGIN", "PRIVATE", "KEY-----", line, "c2hvcnQ=", "-----END", "PRIVATE", "KEY-----"];
  for (const given of [words, words.slice(3, 5)]) {
    const { complaints } = readArgv(["--timeout", ...given], flags, 0);
    assert.ok(complaints.length > 0);
    for (const complaint of complaints) assert.doesNotMatch(complaint, /MIGH|c2hvcnQ/);
  }
});

/** Settings: Go's durations and booleans, ranges, choices, and all complaints at once. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import os from "node:os";
import { test } from "node:test";
import {
  ConfigError,
  createSettingsReader,
  formatDuration,
  parseGoBoolean,
  parseGoDuration,
} from "../../src/config/settings.ts";
import type { SettingsReader } from "../../src/config/settings.ts";

const durations: readonly (readonly [text: string, milliseconds: number])[] = [
  ["10s", 10_000],
  ["1m30s", 90_000],
  ["500ms", 500],
  ["1h2m3.5s", 3_723_500],
  ["1.5h", 5_400_000],
  [".5s", 500],
  ["5.s", 5_000],
  ["250us", 0.25],
  ["250µs", 0.25],
  ["250μs", 0.25],
  ["1000000ns", 1],
  ["0", 0],
  ["+2s", 2_000],
  ["-2s", -2_000],
];
for (const [text, milliseconds] of durations)
  test(`the duration ${text} is ${milliseconds} ms, as Go has it`, () => {
    const parsed = parseGoDuration(text) ?? Number.NaN;
    assert.ok(Math.abs(parsed - milliseconds) < 1e-9, String(parsed));
  });

for (const text of [
  "",
  "10",
  "s",
  ".s",
  "10 s",
  "10S",
  "1d",
  "1e3s",
  "--1s",
  "10s,",
  "1m-30s",
  "9".repeat(70),
])
  test(`${JSON.stringify(text.slice(0, 12))} is no duration, as in Go`, () => {
    assert.equal(parseGoDuration(text), undefined);
  });

for (const [milliseconds, text] of [
  [500, "500ms"],
  [10_000, "10s"],
  [90_000, "1m30s"],
  [120_000, "2m"],
  [3_723_500, "1h2m3.5s"],
] as const)
  test(`${milliseconds} ms are written ${text}, which reads back the same`, () => {
    assert.equal(formatDuration(milliseconds), text);
    assert.equal(parseGoDuration(text), milliseconds);
  });

test("booleans are those of Go's strconv.ParseBool and no others", () => {
  for (const text of ["1", "t", "T", "TRUE", "true", "True"]) assert.equal(parseGoBoolean(text), true, text);
  for (const text of ["0", "f", "F", "FALSE", "false", "False"])
    assert.equal(parseGoBoolean(text), false, text);
  for (const text of ["", "yes", "no", "on", "tRUE", "2", "truee"])
    assert.equal(parseGoBoolean(text), undefined, text);
});

/** As defaults of the flags. */
const defaults = { n: "3", d: "4s", m: "1", z: "1ms", timeout: "1s" };

function readerOf(settings: Record<string, string>, earlier: readonly string[] = []): SettingsReader {
  const entries = Object.entries(settings).map(
    ([name, text]) => [name, { text, source: `--${name}` }] as const,
  );
  return createSettingsReader(Object.fromEntries(entries), defaults, earlier);
}

test("a reader gives each kind of value", () => {
  const read = readerOf({ n: "7", d: "2s", b: "true", t: "text", p: "~/key.pem", c: "two" });
  assert.equal(read.integer("n", { min: 1, max: 9 }), 7);
  assert.equal(read.durationMs("d", { min: 1, max: 9_000 }), 2_000);
  assert.equal(read.boolean("b"), true);
  assert.equal(read.text("t"), "text");
  assert.equal(read.path("p"), `${os.homedir()}/key.pem`);
  assert.equal(read.oneOf("c", ["one", "two"]), "two");
  read.finish();
});

test("only a leading ~/ stands for the home folder", () => {
  const read = readerOf({ a: "~other/x", b: "/a/~/b", c: "~" });
  assert.deepEqual([read.path("a"), read.path("b"), read.path("c")], ["~other/x", "/a/~/b", "~"]);
});

test("a path with a control character is refused: it could begin a line of its own in a unit", () => {
  const read = readerOf({ a: "/run/x\nExecStartPre=/bin/true\n#/kms.sock" });
  read.path("a");
  assert.throws(
    () => {
      read.finish();
    },
    (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.complaints[0] ?? "", /has a control character in it$/);
      return true;
    },
  );
});

test("a user without a home folder is told so, once for each value, and has none made up", (t) => {
  const { HOME } = process.env;
  t.after(() => {
    process.env["HOME"] = HOME;
  });
  process.env["HOME"] = "";
  const read = readerOf({ a: "~/a.pem", b: "/b.pem" });
  read.path("a");
  read.path("a");
  assert.equal(read.path("b"), "/b.pem");
  assert.throws(
    () => {
      read.finish();
    },
    (error) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.complaints.length, 1);
      assert.match(error.complaints[0] ?? "", /"~\/a\.pem": this user has no home folder; set HOME/);
      return true;
    },
  );
});

test("what was not given reads as its default, without a complaint", () => {
  const read = readerOf({});
  assert.equal(read.integer("n", { min: 1, max: 9 }), 3);
  assert.equal(read.durationMs("d", { min: 1, max: 9_000 }), 4_000);
  assert.equal(read.boolean("b"), false);
  assert.equal(read.oneOf("c", ["one"]), undefined);
  assert.equal(read.path("p"), undefined);
  read.finish();
});

test("everything that is wrong is told at once, the earlier complaints first", () => {
  const read = readerOf({ n: "10", d: "1h", b: "maybe", c: "three", m: "-1", z: "ten" }, ["earlier"]);
  read.integer("n", { min: 1, max: 9 });
  read.durationMs("d", { min: 1_000, max: 60_000 });
  read.boolean("b");
  read.oneOf("c", ["one", "two"]);
  read.integer("m", { min: 0, max: 9 });
  read.durationMs("z", { min: 0, max: 1 });
  read.complain("of the caller");
  assert.throws(
    () => {
      read.finish();
    },
    (error: unknown) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.code, "CONFIG");
      assert.deepEqual(error.complaints, [
        "earlier",
        'Invalid value for --n: "10" is not a whole number from 1 to 9',
        'Invalid value for --d: "1h" is out of range: from 1s to 1m',
        'Invalid value for --b: "maybe" is not true or false',
        'Invalid value for --c: "three" must be one of: one, two',
        'Invalid value for --m: "-1" is not a whole number from 0 to 9',
        'Invalid value for --z: "ten" is not a duration such as "10s", "1m30s" or "500ms"',
        "of the caller",
      ]);
      return true;
    },
  );
});

test("a value in a complaint stays on one line and is not endless", () => {
  const read = readerOf({ n: `1\n2${"x".repeat(500)}` });
  read.integer("n", { min: 1, max: 9 });
  assert.throws(
    () => {
      read.finish();
    },
    (error: unknown) =>
      error instanceof ConfigError && !error.message.includes("\n") && error.message.length < 250,
  );
});

const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const pem = String(privateKey.export({ format: "pem", type: "pkcs8" })).trim();
for (const [form, text] of [
  ["a PEM", pem],
  ["the beginning of a PEM", pem.slice(0, 80)],
  ["a PEM in base64, as the data of a Secret", Buffer.from(pem).toString("base64")],
] as const)
  test(`${form} in place of a path is a complaint that does not show it`, () => {
    const read = readerOf({ "client-key": text, timeout: text });
    read.path("client-key");
    read.durationMs("timeout", { min: 1, max: 9_000 });
    assert.throws(
      () => {
        read.finish();
      },
      (error: unknown) => {
        assert.ok(error instanceof ConfigError);
        assert.deepEqual(error.complaints, [
          "Invalid value for --client-key: it holds a PEM or a key, not the path of a file with one",
          "Invalid value for --timeout: it holds a PEM or a key, not the path of a file with one",
          `Invalid value for --timeout: (${text.length} characters, not shown) is not a duration such as "10s", "1m30s" or "500ms"`,
        ]);
        return true;
      },
    );
  });

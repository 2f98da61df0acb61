/** The file of variables of a unit, read as systemd.exec(5) says. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { configCommand } from "../../src/cli/config.ts";
import { parseEnvFile } from "../../src/cli/env-file.ts";
import { ConfigError } from "../../src/config/settings.ts";
import { temporaryFolder } from "../server/harness.ts";
import { runCommand } from "./run-command.ts";

describe("a file of variables", () => {
  const rows: readonly (readonly [what: string, text: string, variables: Record<string, string>])[] = [
    ["a variable a line", "A=1\nB=two words\n", { A: "1", B: "two words" }],
    ["comments and empty lines", "# A=1\n\n; B=2\nC=3", { C: "3" }],
    ["a # inside a value is part of it", "A=1 # 2", { A: "1 # 2" }],
    ["quotes of both kinds", `A="1 2"\nB='3 "4"'`, { A: "1 2", B: '3 "4"' }],
    ["escapes in double quotes", String.raw`A="a\"b\\c"`, { A: String.raw`a"b\c` }],
    ["a line that goes on", "A=1\\\n2", { A: "12" }],
    ["line ends of Windows", "A=1\r\nB='2'\r\n", { A: "1", B: "2" }],
    ["spaces around", "  A =  1  ", { A: "1" }],
    ["an empty value", "A=", { A: "" }],
    ["the last of several", "A=1\nA=2", { A: "2" }],
    // Each as systemd 252 was seen to read it.
    ["lines as Windows ends them", "A=1\r\nB='x'\r\n\r\n# c\r\nC=\"y\"\r\n", { A: "1", B: "x", C: "y" }],
    ["a value of several lines in quotes", `A="a\nb"\nB='c\\\nd'\nC=1`, { A: "a\nb", B: "c\\\nd", C: "1" }],
    ["a quote that does not end", `A="abc\nB=1\n`, { A: "abc\nB=1\n" }],
    ["parts in quotes, and then a bare one", `A='a'"b" c'd' \nB='b' # c`, { A: "abc'd'", B: "b# c" }],
    ["a quote within a bare value", 'A=a"b c"d', { A: 'a"b c"d' }],
    ["spaces after a backslash", "A=a\\ \\  \nB=1", { A: "a  ", B: "1" }],
    ["a backslash at the end", "A=1\\", { A: "1" }],
    ["a comment that goes on", "# c \\\nA=1\nB=2", { B: "2" }],
    ["what has no name passed over", "=5\nexport A=1\nA-B=1\n1A=1\n\u{FEFF}A=1\nA\nB=2", { B: "2" }],
  ];
  for (const [what, text, variables] of rows)
    test(`has ${what}`, () => {
      assert.deepEqual(parseEnvFile(text).variables, variables);
    });
});

describe("--environment-file", () => {
  test("wins over the environment, and a flag over it", async (t) => {
    const file = path.join(temporaryFolder(t), "main.env");
    writeFileSync(file, "OKMS_SOCK=/run/file/kms.sock\n");
    const kind = "encryption-configuration";
    const env = { OKMS_SOCK: "/run/env/kms.sock" };
    const byFile = await runCommand(configCommand, [kind, `--environment-file=${file}`], env);
    assert.match(byFile.stdout, /unix:\/\/\/run\/file\/kms\.sock/);
    const byFlag = await runCommand(
      configCommand,
      [kind, `--environment-file=${file}`, "--sock=/run/flag/kms.sock"],
      env,
    );
    assert.match(byFlag.stdout, /unix:\/\/\/run\/flag\/kms\.sock/);
  });

  const wrong: readonly (readonly [what: string, bytes: string | Buffer, complaint: RegExp])[] = [
    [
      "with `export`",
      "# of the unit\r\nexport OKMS_SOCK=/run/kms.sock\n",
      /^--environment-file \S+\/main\.env: systemd ignores line 2: it has NAME=value alone, without export$/,
    ],
    ["with a byte order mark", "\u{FEFF}OKMS_SOCK=/run/kms.sock\n", /begins with a byte order mark/],
    [
      "that is not UTF-8",
      Buffer.from("OKMS_KEY_LABEL=caf\u00e9\n", "latin1"),
      /is not UTF-8: systemd refuses it$/,
    ],
    ["with a zero byte", "OKMS_SOCK=/run/kms.sock\0\n", /is not UTF-8: systemd refuses it$/],
  ];
  for (const [what, bytes, complaint] of wrong)
    test(`${what} is an error of the command line`, async (t) => {
      const file = path.join(temporaryFolder(t), "main.env");
      writeFileSync(file, bytes);
      await assert.rejects(
        runCommand(configCommand, ["encryption-configuration", `--environment-file=${file}`]),
        (error) => error instanceof ConfigError && complaint.test(error.message),
      );
    });

  test("that is not there is an error of the command line", async () => {
    await assert.rejects(
      runCommand(configCommand, ["encryption-configuration", "--environment-file=/nowhere/main.env"]),
      (error) =>
        error instanceof ConfigError &&
        error.message === "Cannot read --environment-file /nowhere/main.env: there is no such file",
    );
  });
});

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
  ];
  for (const [what, text, variables] of rows)
    test(`has ${what}`, () => {
      assert.deepEqual(parseEnvFile(text), variables);
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

  test("with a byte order mark, which hides its first variable from systemd, is refused in words", async (t) => {
    const file = path.join(temporaryFolder(t), "main.env");
    writeFileSync(file, "\uFEFFOKMS_SOCK=/run/file/kms.sock\n");
    await assert.rejects(
      runCommand(configCommand, ["encryption-configuration", `--environment-file=${file}`]),
      /begins with a byte order mark/,
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

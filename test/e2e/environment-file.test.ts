/**
 * The file of variables on the built program. Node.js itself reads `--env-file` wherever it stands on a command line, in a
 * single executable too: none of our flags may be one of those.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { allCommands } from "../../src/cli/index.ts";
import { startProgram } from "./program.ts";

test("A file that is not there is told in our words, with exit code 2", async (t) => {
  const { code, stderr } = await startProgram(t, ["check", "--environment-file=/nowhere/main.env"]).ended;
  assert.equal(code, 2);
  assert.match(stderr, /Cannot read --environment-file \/nowhere\/main\.env: there is no such file/);
});

test("No command has a flag that Node.js takes for itself", () => {
  for (const { name, flags } of allCommands)
    for (const flag of Object.keys(flags)) assert.doesNotMatch(flag, /^env-file/, name);
});

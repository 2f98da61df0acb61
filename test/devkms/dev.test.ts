/** `npm run dev` as its user sees it: as a process, in a folder of its own. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { temporaryFolder } from "../support/temporary-folder.ts";

const checkout = path.resolve(import.meta.dirname, "../..");

interface Run {
  readonly child: ChildProcess;
  /** Resolves with all output so far once `text` is in it; rejects where the process ends before. */
  until(text: string): Promise<string>;
  readonly ended: Promise<[number | null, string]>;
}

function run(t: TestContext, ...args: string[]): Run {
  const script = path.join(checkout, "test/devkms/dev.ts");
  const child = spawn(process.execPath, [script, ...args], {
    cwd: checkout,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      child.emit("output");
    });
  const ended = once(child, "close").then(([code]: (number | null)[]): [number | null, string] => [
    code ?? null,
    output,
  ]);
  t.after(async () => {
    child.kill("SIGTERM");
    await ended;
  });
  return {
    child,
    ended,
    async until(text) {
      while (!output.includes(text)) {
        const [last] = await Promise.race([ended, once(child, "output")]);
        if (last !== undefined) assert.fail(`ended before it said ${text}:\n${output}`);
      }
      return output;
    },
  };
}

for (const protocol of ["kmip", "rest"] as const)
  test(`with ${protocol} it shows Status, Encrypt and Decrypt, serves the buf curl line it prints, and ends on SIGINT`, async (t) => {
    const folder = temporaryFolder(t);
    const dev = run(t, "--protocol", protocol, "--folder", folder);
    const output = await dev.until("Both go on serving");
    for (const line of [
      "✔ KMS ",
      "✔ Plugin ",
      "✔ Status   v2, healthz ok",
      "✔ Encrypt ",
      "✔ Decrypt  the same 32 bytes",
    ])
      assert.ok(output.includes(line), `no line ${line} in:\n${output}`);
    assert.match(output, /kind: EncryptionConfiguration/);
    const curl = /npx buf (curl .*)\\\n\s+(http\S+)/.exec(output);
    assert.ok(curl);
    const buf = path.join(checkout, "node_modules/.bin/buf");
    const args = [...(curl[1] ?? "").trim().split(" "), curl[2] ?? ""];
    const { stdout } = await promisify(execFile)(buf, args, { cwd: checkout });
    assert.equal(JSON.parse(stdout).healthz, "ok");
    dev.child.kill("SIGINT");
    const [code] = await dev.ended;
    assert.equal(code, 0);
    assert.deepEqual(await readdir(folder), ["kms"], "socket and notes are gone, what is kept is there");
  });

test("after a run that was killed the next one takes over, with the same key", async (t) => {
  const folder = temporaryFolder(t);
  const killed = run(t, "--folder", folder);
  const before = await killed.until("Both go on serving");
  killed.child.kill("SIGKILL");
  await once(killed.child, "exit");
  const dev = run(t, "--folder", folder);
  const after = await dev.until("Both go on serving");
  const keyId = /key_id (\S+)/.exec(before)?.[1];
  assert.ok(keyId !== undefined && after.includes(`key_id ${keyId}`));
});

test("a second run beside the first, and a wrong command line, end with one line that says why", async (t) => {
  const folder = temporaryFolder(t);
  const first = run(t, "--folder", folder);
  await first.until("Both go on serving");
  const [code, output] = await run(t, "--folder", folder).ended;
  assert.deepEqual([code, output.trim().split("\n").length], [1, 1]);
  assert.match(output, /runs already in this checkout/);
  assert.deepEqual(await run(t, "--protocol", "soap").ended, [
    1,
    "✖ --protocol soap: must be kmip or rest\n",
  ]);
});

/** An interruption and what comes after it: the state's file, who may read it, and when it is not gone on with. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { startProgram } from "../e2e/program.ts";
import { TestApiServer } from "./api-server.ts";
import { reencrypt } from "./run.ts";

interface State {
  savedAt: string;
  server: string;
  resources: Record<string, { status: string; continueToken?: string; tally: Record<string, number> }>;
}

function read(file: string): State {
  return JSON.parse(readFileSync(file, "utf8")) as State;
}

/** Starts a run of its own process on 1,700 Secrets, and sends `signal` at the 700th patch: in the second page. */
async function interrupted(
  t: Parameters<typeof startProgram>[0],
  api: TestApiServer,
  signal: NodeJS.Signals,
): Promise<{ file: string; kubeconfig: string; code: number | null; stderr: string }> {
  const file = path.join(api.folder, "state");
  const kubeconfig = api.kubeconfig();
  const args = ["--resource=secrets", "--qps=10000", `--state=${file}`, `--kubeconfig=${kubeconfig}`];
  const program = startProgram(t, ["reencrypt", ...args], { program: "source" });
  // Those that come later are never answered.
  api.onPatch = (count) => {
    if (count === 700) program.kill(signal);
    return count < 700 ? undefined : new Promise<never>(() => undefined);
  };
  const { code, stderr } = await program.ended;
  api.onPatch = undefined;
  return { file, kubeconfig, code, stderr };
}

describe("reencrypt that is interrupted", () => {
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 130],
    ["SIGKILL", null],
  ] as const)
    test(`by ${signal} goes on with the page that it was in`, async (t) => {
      const api = await TestApiServer.start(t, 1700);
      const first = await interrupted(t, api, signal);
      assert.equal(first.code, code, first.stderr);
      assert.equal(statSync(first.file).mode & 0o777, 0o600);
      assert.deepEqual(
        readdirSync(api.folder).filter((name) => name.startsWith("state")),
        ["state"],
      );
      assert.equal(read(first.file).resources["secrets"]?.tally["rewritten"], 500);
      assert.equal(api.staleCount > 900, true);

      const before = api.patches;
      const again = await reencrypt({ kubeconfig: first.kubeconfig, state: first.file });
      assert.equal(again.code, 0, again.stderr);
      assert.match(again.stderr, /going on with the run of 20/);
      assert.equal(api.patches - before, 1200);
      assert.equal(api.staleCount, 0);
      assert.equal(existsSync(first.file), false);
    });

  test("goes on where the list's token has expired meanwhile", async (t) => {
    const api = await TestApiServer.start(t, 1700);
    const { kubeconfig, file } = await interrupted(t, api, "SIGINT");
    api.expireTokens();
    const before = api.patches;
    const again = await reencrypt({ kubeconfig, state: file });
    assert.equal(again.code, 0, again.stderr);
    assert.deepEqual([api.staleCount, api.patches - before], [0, 1200]);
  });

  test("begins anew after more than a day, for the key may have changed again", async (t) => {
    const api = await TestApiServer.start(t, 1700);
    const { kubeconfig, file } = await interrupted(t, api, "SIGINT");
    const old = { ...read(file), savedAt: new Date(Date.now() - 25 * 3_600_000).toISOString() };
    writeFileSync(file, JSON.stringify(old));
    const before = api.patches;
    const again = await reencrypt({ kubeconfig, state: file });
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stderr, /more than 24 h old: starting from the beginning/);
    assert.equal(api.patches - before, 1700);
  });

  test("does not go on in another cluster, nor over a file that is no state", async (t) => {
    const api = await TestApiServer.start(t, 1);
    const other = await TestApiServer.start(t, 1);
    const file = path.join(api.folder, "state");
    api.faults.push({ method: "PATCH", url: /secret/, status: 422 });
    const ran = await reencrypt({ kubeconfig: api.kubeconfig(), state: file });
    assert.equal(ran.code, 1);
    await assert.rejects(
      reencrypt({ kubeconfig: other.kubeconfig(), state: file }),
      /is the state of a run of https/,
    );
    await assert.rejects(
      reencrypt({ kubeconfig: api.kubeconfig(), namespace: "default", state: file }),
      /is the state of a run of https/,
    );
    for (const text of ["", "{}", JSON.stringify({ ...read(file), version: 2 }), "important notes"]) {
      writeFileSync(file, text);
      await assert.rejects(
        reencrypt({ kubeconfig: api.kubeconfig(), state: file }),
        /is no state of reencrypt/,
      );
      assert.equal(readFileSync(file, "utf8"), text);
    }
    assert.equal(other.patches, 0);
  });

  test("does not wait for a pipe, nor read a device that never ends", async (t) => {
    const api = await TestApiServer.start(t, 1);
    const pipe = path.join(api.folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    for (const state of [pipe, "/dev/zero", api.folder])
      await assert.rejects(
        reencrypt({ kubeconfig: api.kubeconfig(), state }),
        /cannot read .*: is not a file/,
      );
  });

  test("looks again at a resource in which an object failed", async (t) => {
    const api = await TestApiServer.start(t, 3);
    const file = path.join(api.folder, "state");
    api.faults.push({ method: "PATCH", url: /secret-00001/, status: 422 });
    assert.equal((await reencrypt({ kubeconfig: api.kubeconfig(), state: file })).code, 1);
    const again = await reencrypt({ kubeconfig: api.kubeconfig(), state: file });
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stdout, /secrets +patched +1 +2 +0 +0 +0\n/);
    assert.equal(existsSync(file), false);
  });

  test("is told at the start where the state cannot be written", async (t) => {
    const api = await TestApiServer.start(t, 3);
    const state = path.join(api.folder, "missing/state");
    await assert.rejects(reencrypt({ kubeconfig: api.kubeconfig(), state }), /cannot write .*missing\/state/);
    assert.equal(api.patches, 0);
  });

  test("says without --state that another run starts from the beginning", async (t) => {
    const api = await TestApiServer.start(t, 3);
    api.onPatch = () => {
      process.emit("SIGINT");
      return new Promise<never>(() => undefined);
    };
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 130);
    assert.match(ran.stderr, /another run starts from the beginning \(with --state FILE it continues\)/);
  });
});

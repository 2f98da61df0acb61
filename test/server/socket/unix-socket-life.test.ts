import assert from "node:assert/strict";
import { once } from "node:events";
import { renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import path from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { temporaryFolder } from "../harness.ts";
import { greetingOf, listen, makeStaleSocket, modeOf } from "../sockets.ts";

describe("a socket file that is gone under a running process", { concurrency: true }, () => {
  for (const [what, remove] of [
    ["deleted", (file: string) => unlinkSync(file)],
    ["deleted with its folder", (file: string) => rmSync(path.dirname(file), { recursive: true })],
  ] as const) {
    test(`is made again within 2 s after it was ${what}`, async (t) => {
      const file = path.join(temporaryFolder(t), "run/kms.sock");
      const { nextEvent } = await listen(t, file);
      remove(file);
      const removed = performance.now();
      assert.deepEqual(await nextEvent(), { type: "rebound" });
      assert.ok(performance.now() - removed < 2000);
      assert.equal(await greetingOf(t, file), "hello");
      assert.equal(modeOf(file), "660");
    });
  }

  test("is made again in place of a socket on which nobody answers", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    const { nextEvent } = await listen(t, file);
    unlinkSync(file);
    await makeStaleSocket(file);
    assert.deepEqual(await nextEvent(), { type: "rebound" });
    assert.equal(await greetingOf(t, file), "hello");
  });

  test("is reported once while something else is in its place, and made again after that", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    const { nextEvent, events } = await listen(t, file);
    unlinkSync(file);
    writeFileSync(file, "precious");
    assert.equal((await nextEvent()).type, "failed");
    await sleep(1200);
    assert.equal(events.length, 1);
    unlinkSync(file);
    assert.deepEqual(await nextEvent(), { type: "rebound" });
    assert.deepEqual(await nextEvent(), { type: "recovered" });
  });

  test("is reported as recovered where it comes to light again of itself", async (t) => {
    const folder = path.join(temporaryFolder(t), "run");
    const file = path.join(folder, "kms.sock");
    const { nextEvent } = await listen(t, file);
    renameSync(folder, `${folder}.away`);
    writeFileSync(folder, "no folder");
    const problem = await nextEvent();
    assert.equal(problem.type, "failed");
    unlinkSync(folder);
    renameSync(`${folder}.away`, folder);
    assert.deepEqual(await nextEvent(), { type: "recovered" });
    assert.equal(await greetingOf(t, file), "hello");
  });

  test("keeps the connections that it had", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    const { nextEvent, connections } = await listen(t, file);
    await greetingOf(t, file);
    unlinkSync(file);
    await nextEvent();
    assert.equal(connections[0]?.destroyed, false);
  });
});

describe("a process that takes the path over", { concurrency: true }, () => {
  test("leaves no moment in which connecting fails, and the old one stops taking it back", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    const old = await listen(t, file, {}, "old");
    const failures: Error[] = [];
    const done = new AbortController();
    const connecting = (async (): Promise<void> => {
      while (!done.signal.aborted) {
        const client = connect({ path: file });
        await once(client, "data").catch((error: Error) => failures.push(error));
        client.destroy();
      }
    })();
    await listen(t, file, { replace: true }, "new");
    assert.deepEqual(await old.nextEvent(), { type: "taken-over" });
    await sleep(1200);
    done.abort();
    await connecting;
    assert.deepEqual(failures, []);
    assert.deepEqual(old.events, [{ type: "taken-over" }]);
    assert.equal(await greetingOf(t, file), "new");
  });

  test("keeps its socket file when the old one ends", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    const old = await listen(t, file, {}, "old");
    await listen(t, file, { replace: true }, "new");
    await old.socket.close();
    assert.equal(await greetingOf(t, file), "new");
  });

  test("gives the path back to the old one when it has died", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    const old = await listen(t, file, {}, "old");
    const taker = await listen(t, file, { replace: true }, "new");
    assert.deepEqual(await old.nextEvent(), { type: "taken-over" });
    assert.equal(old.socket.reach, "taken over");
    await taker.socket.close();
    assert.deepEqual(await old.nextEvent(), { type: "taken-back" });
    assert.equal(old.socket.reach, "listening");
    assert.equal(await greetingOf(t, file), "old");
  });
});

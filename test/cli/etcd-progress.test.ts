/** The progress bar of long reads: on a terminal only, and gone at the end. */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { createProgressBar, renderProgress } from "../../src/cli/etcd/progress.ts";

test("shows the share, the amount and the time that is left", () => {
  const text = renderProgress("snapshot a.db", { done: 25, total: 100, unit: "pages" }, 2000);
  assert.equal(text, `snapshot a.db  ${"█".repeat(6)}${"░".repeat(18)} 25%  25 of 100 pages, 6 s left`);
  assert.equal(renderProgress("x", { done: 3, total: 0, unit: "rows" }, 10), "x  3 rows");
});

test("shows nothing where there is no terminal, nor within the first moment", () => {
  for (const isTTY of [false, true]) {
    const stream = Object.assign(new PassThrough(), { isTTY });
    const bar = createProgressBar(stream, "x");
    bar.update({ done: 1, total: 2, unit: "pages" });
    bar.clear();
    assert.equal(stream.read(), null);
  }
});

test("shows itself on a terminal after a moment, and is taken away", (t) => {
  let now = 1000;
  t.mock.method(performance, "now", () => now);
  const stream = Object.assign(new PassThrough(), { isTTY: true });
  const bar = createProgressBar(stream, "x");
  now = 2000;
  bar.update({ done: 1, total: 2, unit: "pages" });
  bar.clear();
  assert.equal(
    String(stream.read()),
    `\r\u001b[Kx  ${"█".repeat(12)}${"░".repeat(12)} 50%  1 of 2 pages, 1 s left\r\u001b[K`,
  );
});

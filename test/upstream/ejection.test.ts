/** Ejection: an endpoint that fails its callers is not returned to for longer each time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createEjection } from "../../src/upstream/ejection.ts";
import { eventually } from "../kmip/echo-server.ts";

test("The first failure ejects for no time, each that follows for longer, and every ejection ends", async () => {
  const ejection = createEjection(10);
  assert.equal(ejection.isActive, false);
  ejection.record();
  assert.equal(ejection.isActive, false);
  const ejections: number[] = [];
  for (let nth = 0; nth < 3; nth += 1) {
    ejection.record();
    const from = performance.now();
    assert.equal(ejection.isActive, true);
    await eventually(() => !ejection.isActive, "the ejection ends");
    ejections.push(performance.now() - from);
  }
  const [first = 0, second = 0, third = 0] = ejections;
  assert.ok(first >= 19 && second >= 39 && third >= 79, `ejections of ${ejections.join(", ")} ms`);
});

test("A failure long after the last one is a first one again", async () => {
  const ejection = createEjection(1);
  ejection.record();
  ejection.record();
  assert.equal(ejection.isActive, true);
  await new Promise((resolve) => setTimeout(resolve, 50));
  ejection.record();
  assert.equal(ejection.isActive, false);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { createFaults, resetFaults, takeFault } from "./faults.ts";

test("a KMS without faults does everything right", () => {
  assert.equal(takeFault(createFaults(), "kmip", ["Encrypt"]), undefined);
});

test("a fault with a count befalls so many requests, and only those that it would befall are counted", () => {
  const faults = createFaults();
  faults.refuse = { operation: "Encrypt", reason: "PermissionDenied" };
  faults.count = 2;
  const seen = [["Locate"], ["Encrypt"], ["Locate", "Encrypt"], ["Encrypt"]].map((o) =>
    takeFault(faults, "kmip", o),
  );
  assert.deepEqual(seen, [undefined, "refuse", "refuse", undefined]);
});

test("resetting puts every switch back", () => {
  const faults = createFaults();
  Object.assign(faults, { delayMs: 5, silent: true, garbage: true, count: 3, rest: { status: 500 } });
  faults.deniedKeys.add("key");
  resetFaults(faults);
  assert.deepEqual(faults, createFaults());
});

for (const fault of ["silent", "closeAfterRequest", "halfFrame", "garbage"] as const)
  test(`the switch ${fault} befalls every request until it is put back`, () => {
    const faults = createFaults();
    faults[fault] = true;
    assert.deepEqual([takeFault(faults, "kmip", []), takeFault(faults, "rest", ["Decrypt"])], [fault, fault]);
    faults[fault] = false;
    assert.equal(takeFault(faults, "kmip", []), undefined);
  });

test("an empty or a false switch of REST is none", () => {
  const faults = createFaults();
  faults.rest = { brokenBody: false };
  assert.equal(takeFault(faults, "rest", ["encrypt"]), undefined);
  faults.rest = { status: 503 };
  assert.equal(takeFault(faults, "rest", ["encrypt"]), "rest");
  assert.equal(takeFault(faults, "kmip", ["Encrypt"]), undefined, "KMIP knows no HTTP status");
});

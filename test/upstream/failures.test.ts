/** What a call reports that failed, or was left without an answer: whichever filled its time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { NetworkError, ProviderError, TimeoutError } from "../../src/errors.ts";
import { CallFailures } from "../../src/upstream/failures.ts";

const refused = new NetworkError("CONNECT", "nothing listens", { endpoint: "kms:1", sent: false });
const over = new TimeoutError("response", "the time is over");

test("A call that failed for longer than it then got no answer ends with the failure", async () => {
  const failures = new CallFailures();
  await sleep(30);
  failures.add(refused);
  assert.equal(failures.insteadOf(over), refused);
});

test("A call that got no answer for longer than it failed before ends with TIMEOUT", async () => {
  const failures = new CallFailures();
  failures.add(refused);
  await sleep(30);
  assert.equal(failures.insteadOf(over), over);
});

test("A call that ends with anything but TIMEOUT, or without a failure, ends with that", async () => {
  const failures = new CallFailures();
  assert.equal(failures.insteadOf(over), over);
  await sleep(5);
  failures.add(refused);
  const denied = new ProviderError("KEY_ACCESS_DENIED", "denied");
  assert.equal(failures.insteadOf(denied), denied);
});

test("More dials are hopeless after three permanent failures in a row for each endpoint", () => {
  const failures = new CallFailures();
  const permanent = new NetworkError("TLS", "the certificate is another's", {
    endpoint: "kms:1",
    sent: false,
  });
  const address = { name: "kms:1" };
  failures.addDial(address, permanent);
  failures.addDial(address, permanent);
  failures.addDial(address, refused);
  for (let times = 0; times < 3; times += 1) {
    assert.equal(failures.isHopeless(1), false);
    failures.addDial(address, permanent);
  }
  assert.equal(failures.isHopeless(1), true);
  assert.equal(failures.isHopeless(2), false);
  assert.equal(failures.ofDials, permanent);
});

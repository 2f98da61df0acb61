/** A key whose use ends on a date, on the built program: warned of before, and said in plain words after. KMIP only. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { status as Code } from "@grpc/grpc-js";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { runProgram } from "./program.ts";
import { flagList, inTime, kmipFlagsOf, serving, unwrap, wrap } from "./serving.ts";

const dayMs = 24 * 60 * 60_000;

test("a Protect Stop Date is in the log, the metrics and check before it comes; after it Encrypt stops and Decrypt goes on", async (t) => {
  const kms = await startDevKms({ rest: false });
  t.after(() => kms.close());
  // KMIP's Date-Time has whole seconds.
  const protectStop = new Date(Math.floor(Date.now() / 1000) * 1000 + 6.5 * dayMs);
  const { id } = kms.keys.create({ name: "etcd", dates: { protectStop } });
  const quick = { "probe-interval": "100ms", "deep-probe-interval": "200ms", "http-addr": "127.0.0.1:0" };
  const { program, client } = await serving(t, flagList({ ...kmipFlagsOf(kms), ...quick }));

  const warning = await program.untilLogged(/^the key's Protect Stop Date, /);
  assert.deepEqual([warning.level, warning["date"], warning["id"]], ["warn", protectStop.toISOString(), id]);
  const { address } = await program.untilLogged("the HTTP endpoint listens");
  const metrics = await (await fetch(`http://${String(address)}/metrics`)).text();
  assert.match(
    metrics,
    new RegExp(`key_date_timestamp_seconds\\{date="protect-stop"\\} ${protectStop.getTime() / 1000}\\n`),
  );
  const checked = await runProgram(t, ["check", ...flagList(kmipFlagsOf(kms))]);
  assert.match(
    checked.stdout,
    /^! key dates +the key's Protect Stop Date, .* is in 6 days: .*\n +→ make a new key/m,
  );
  const seed = randomBytes(32);
  const wrapped = await wrap(client, seed);

  kms.keys.update(id, { dates: { protectStop: new Date(Date.now() - 1000) } });
  const line = await program.untilLogged(
    "the key must not be used; Status and Encrypt fail, Decrypt is still tried",
  );
  assert.equal(line["code"], "KEY_NOT_ACTIVE");
  assert.match(
    String(line["error"]),
    /its Protect Stop Date, .*, has passed: the KMS refuses Encrypt, and Decrypt still works/,
  );
  const { status } = KeyManagementService.method;
  const answer = await client.call(status, {}, inTime());
  assert.ok("error" in answer);
  assert.equal(answer.error.code, Code.FAILED_PRECONDITION);
  assert.deepEqual(await unwrap(client, wrapped), seed);

  kms.keys.update(id, { dates: {} });
  await program.untilLogged("the key is healthy", 2);
});

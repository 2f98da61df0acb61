/** The dates of a key as serve reports them: once for each step nearer, and as a metric. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { dateWarnings } from "../../src/cli/key-dates.ts";
import { reportKeyDates } from "../../src/cli/serve/key-dates.ts";
import { createMetrics } from "../../src/metrics.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { encryptorFor, within } from "../encryptors/kmip-harness.ts";

const now = new Date("2027-01-01T00:00:00Z");
const inDays = (days: number, from = now): Date => new Date(from.getTime() + days * 86_400_000);

test("a date is warned of from 30 and from 7 days before, and when it has passed", () => {
  for (const [days, expected] of [
    [31, undefined],
    [30, "30 days"],
    [8, "30 days"],
    [7, "7 days"],
    [0.5, "7 days"],
    [0, "passed"],
    [-400, "passed"],
  ] as const)
    assert.equal(dateWarnings({ protectStop: inDays(days) }, now)[0]?.nearness, expected, `${days}`);
});

test("each date says what the KMS will refuse", () => {
  const said = dateWarnings(
    { protectStop: inDays(0.5), deactivation: inDays(1), processStart: inDays(2) },
    now,
  ).map(({ message }) => message);
  assert.deepEqual(said, [
    "the key's Protect Stop Date, 2027-01-01T12:00:00.000Z, is in less than a day: the KMS will refuse Encrypt from then on, and Decrypt will still work",
    "the key's Deactivation Date, 2027-01-02T00:00:00.000Z, is in 1 day: the KMS will deactivate the key then",
    "the key's Process Start Date, 2027-01-03T00:00:00.000Z, has not come: the KMS refuses Decrypt until then",
  ]);
});

test("serve logs each warning once, and again when the date is nearer", async (t) => {
  const kms = await startDevKms({ rest: false });
  t.after(() => kms.close());
  const { id } = kms.keys.create({ dates: { protectStop: inDays(20, new Date()) } });
  await using encryptor = await encryptorFor(kms, { id });
  const lines: string[] = [];
  // Not the program's logger: it folds lines that differ in numbers only, which come days apart in reality.
  const logger = {
    warn: (message: string) => lines.push(`warn ${message}`),
    error: (message: string) => lines.push(`error ${message}`),
  };
  const metrics = createMetrics({ version: "1", protocol: "kmip" });
  const reporting = reportKeyDates(encryptor, logger, metrics);
  for (const [days, expected] of [
    [20, 1],
    [20, 1],
    [6, 2],
    [-1, 3],
  ] as const) {
    kms.keys.update(id, { dates: { protectStop: inDays(days, kms.keys.get(id)?.createdAt) } });
    await reporting.resolveKey(within());
    await reporting.resolveKey(within());
    assert.equal(lines.length, expected, lines.join(""));
  }
  assert.match(lines[0] ?? "", /^warn .*Protect Stop Date, .* is in 19 days/);
  assert.match(lines[2] ?? "", /^error .*has passed: the KMS refuses Encrypt, and Decrypt still works/);
  assert.match(await metrics.render(), /key_date_timestamp_seconds\{date="protect-stop"\} \d+/);
});

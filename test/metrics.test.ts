/** The metrics as an operator's Prometheus reads them: names, labels, values, and the format to the letter. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { keyIdHash } from "../src/text/key-id-hash.ts";
import type { Metrics } from "../src/metrics.ts";
import { createMetrics, durationBuckets } from "../src/metrics.ts";
import { parseExposition } from "./exposition.ts";
import type { Family } from "./exposition.ts";
import { createUsedMetrics } from "./used-metrics.ts";

const prefix = "okms_encryption_provider_";

async function read(metrics: Metrics): Promise<Map<string, Family>> {
  return parseExposition(await metrics.render());
}

/** The value of the one series with these labels, and perhaps others; undefined where there is none. */
async function valueOf(
  metrics: Metrics,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number | undefined> {
  const families = await read(metrics);
  const samples = [...families.values()].flatMap((family) => family.samples);
  const found = samples.filter(
    (sample) =>
      sample.name === `${prefix}${name}` &&
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  assert.ok(found.length <= 1, `${name} has several series with ${JSON.stringify(labels)}`);
  return found[0]?.value;
}

describe("metrics", () => {
  test("are valid to a strict reader of the exposition format, before and after use", async () => {
    await read(createMetrics({ version: "1.2.3", protocol: "rest" }));
    await read(createUsedMetrics());
  });

  test("count the connections to the KMS when they are asked for, whatever was told before", async () => {
    const metrics = createMetrics({ version: "1", protocol: "rest" });
    let busy = 4;
    metrics.connections(() => ({ idle: 0, busy, connecting: 1 }));
    assert.match(await metrics.render(), /kms_connections\{state="busy"\} 4\n/);
    busy = 0;
    assert.match(await metrics.render(), /kms_connections\{state="busy"\} 0\n/);
  });

  test("have the media type of the text format", () => {
    const { contentType } = createMetrics({ version: "1", protocol: "kmip" });
    assert.match(contentType, /^text\/plain; version=0\.0\.4/);
  });

  const expected: readonly (readonly [name: string, type: string, labels: readonly string[]])[] = [
    ["requests_total", "counter", ["method", "code"]],
    ["request_duration_seconds", "histogram", ["method", "code"]],
    ["kms_requests_total", "counter", ["protocol", "operation", "outcome"]],
    ["kms_request_duration_seconds", "histogram", ["protocol", "operation", "outcome"]],
    ["kms_connections", "gauge", ["state"]],
    ["kms_endpoint_up", "gauge", ["endpoint"]],
    ["kms_endpoint_in_use", "gauge", ["endpoint"]],
    ["inflight_requests", "gauge", []],
    ["rejected_total", "counter", ["reason"]],
    ["probe_total", "counter", ["kind", "outcome"]],
    ["probe_duration_seconds", "histogram", ["kind"]],
    ["last_successful_probe_timestamp_seconds", "gauge", []],
    ["last_successful_deep_probe_timestamp_seconds", "gauge", []],
    ["key_state", "gauge", ["state"]],
    ["key_failure", "gauge", ["code"]],
    ["key_id_hash_info", "gauge", ["key_id_hash"]],
    ["key_changes_total", "counter", []],
    ["key_date_timestamp_seconds", "gauge", ["date"]],
    ["certificate_not_after_timestamp_seconds", "gauge", ["file"]],
    ["reload_total", "counter", ["outcome"]],
    ["socket_rebinds_total", "counter", []],
    ["log_lines_lost_total", "counter", []],
    ["event_loop_utilization", "gauge", []],
    ["build_info", "gauge", ["version", "node_version", "protocol"]],
  ];
  for (const [name, type, labels] of expected) {
    test(`hold ${name}, a ${type} by ${labels.join(", ") || "nothing"}`, async () => {
      const family = (await read(createUsedMetrics())).get(`${prefix}${name}`);
      assert.equal(family?.type, type);
      const names = Object.keys(family.samples[0]?.labels ?? {}).filter((label) => label !== "le");
      assert.deepEqual(names.toSorted(), labels.toSorted());
    });
  }

  test("are these and no others under the prefix", async () => {
    const names = [...(await read(createUsedMetrics())).keys()].filter((name) => name.startsWith(prefix));
    assert.deepEqual(names.toSorted(), expected.map(([name]) => `${prefix}${name}`).toSorted());
  });

  test("hold the process's own: CPU, memory, open files, start time", async () => {
    const names = new Set((await read(createUsedMetrics())).keys());
    for (const name of ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"])
      assert.ok(names.has(`process_${name}`), name);
  });

  test("have buckets from 0.5 ms to 10 s, rising", () => {
    assert.equal(durationBuckets[0], 0.0005);
    assert.equal(durationBuckets.at(-1), 10);
    assert.deepEqual(
      [...durationBuckets].toSorted((a, b) => a - b),
      durationBuckets,
    );
  });

  test("count calls by method and code, and measure their time", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    metrics.request("Encrypt", "OK", 0.002);
    metrics.request("Encrypt", "OK", 0.02);
    metrics.request("Encrypt", "Unavailable", 3);
    assert.equal(await valueOf(metrics, "requests_total", { method: "Encrypt", code: "OK" }), 2);
    assert.equal(await valueOf(metrics, "requests_total", { method: "Encrypt", code: "Unavailable" }), 1);
    const ok = { method: "Encrypt", code: "OK" };
    assert.equal(await valueOf(metrics, "request_duration_seconds_bucket", { ...ok, le: "0.0025" }), 1);
    assert.equal(await valueOf(metrics, "request_duration_seconds_count", ok), 2);
  });

  test("count a method that the socket does not serve as `other`", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    for (let index = 0; index < 200; index += 1) metrics.request(`Made up ${index}`, "Unimplemented", 0);
    assert.equal(await valueOf(metrics, "requests_total", { method: "other" }), 200);
  });

  test("hold the number of a label's values below a bound, whatever is thrown at them", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    for (let index = 0; index < 1000; index += 1) metrics.rejected(`reason "${index}"\n`);
    const families = await read(metrics);
    const samples = families.get(`${prefix}rejected_total`)?.samples ?? [];
    assert.ok(samples.length <= 65, `${samples.length} series`);
    assert.equal(
      samples.reduce((sum, { value }) => sum + value, 0),
      1000,
    );
  });

  test("show calls inside now, up and down", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    metrics.inflight(1);
    metrics.inflight(1);
    metrics.inflight(-1);
    assert.equal(await valueOf(metrics, "inflight_requests"), 1);
  });

  test("count requests to the KMS by protocol, operation and outcome", async () => {
    const metrics = createMetrics({ version: "1", protocol: "rest" });
    const exchange = {
      type: "exchange",
      endpoint: "kms:443",
      durationMs: 40,
      requestBytes: 1,
      replyBytes: 1,
    } as const;
    metrics.kms({ ...exchange, operation: "decrypt", outcome: "ok" });
    metrics.kms({ ...exchange, operation: "decrypt", outcome: "REST_STATUS" });
    const labels = { protocol: "rest", operation: "decrypt" };
    assert.equal(await valueOf(metrics, "kms_requests_total", { ...labels, outcome: "ok" }), 1);
    assert.equal(await valueOf(metrics, "kms_requests_total", { ...labels, outcome: "REST_STATUS" }), 1);
    const sum = await valueOf(metrics, "kms_request_duration_seconds_sum", { ...labels, outcome: "ok" });
    assert.equal(sum, 0.04);
  });

  test("name the endpoint in use, one at a time, and those that are up", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    metrics.kms({ type: "endpoint", endpoint: "a:5696", up: true, inUse: true });
    metrics.kms({ type: "endpoint", endpoint: "a:5696", up: false, inUse: true });
    metrics.kms({ type: "endpoint", endpoint: "b:5696", up: true, inUse: true });
    assert.equal(await valueOf(metrics, "kms_endpoint_up", { endpoint: "a:5696" }), 0);
    assert.equal(await valueOf(metrics, "kms_endpoint_up", { endpoint: "b:5696" }), 1);
    assert.equal(await valueOf(metrics, "kms_endpoint_in_use", { endpoint: "a:5696" }), 0);
    assert.equal(await valueOf(metrics, "kms_endpoint_in_use", { endpoint: "b:5696" }), 1);
  });

  test("keep the time of the last good probe through bad ones", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    const name = "last_successful_probe_timestamp_seconds";
    metrics.probe("light", "transient", 1);
    assert.equal(await valueOf(metrics, name), 0);
    const before = Date.now() / 1000;
    metrics.probe("deep", "ok", 0.1);
    const good = (await valueOf(metrics, name)) ?? 0;
    assert.ok(good >= before && good <= Date.now() / 1000, String(good));
    metrics.probe("light", "permanent", 0.1);
    assert.equal(await valueOf(metrics, name), good);
    assert.equal(await valueOf(metrics, "probe_total", { kind: "light", outcome: "permanent" }), 1);
  });

  test("keep the time of the last good deep probe apart from that of light ones", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    const name = "last_successful_deep_probe_timestamp_seconds";
    metrics.probe("light", "ok", 0.1);
    metrics.probe("deep", "permanent", 0.1);
    assert.equal(await valueOf(metrics, name), 0);
    metrics.probe("deep", "ok", 0.1);
    assert.ok(((await valueOf(metrics, name)) ?? 0) > Date.now() / 1000 - 60);
  });

  test("show one state of the key at a time, and its failure only while there is one", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    assert.equal(await valueOf(metrics, "key_state", { state: "unknown" }), 1);
    metrics.keyState("grace", "CONNECT");
    metrics.keyState("permanent", "KEY_CHANGED");
    assert.equal(await valueOf(metrics, "key_state", { state: "unknown" }), 0);
    assert.equal(await valueOf(metrics, "key_state", { state: "permanent" }), 1);
    assert.equal(await valueOf(metrics, "key_failure", { code: "CONNECT" }), undefined);
    assert.equal(await valueOf(metrics, "key_failure", { code: "KEY_CHANGED" }), 1);
    metrics.keyState("ok", undefined);
    assert.equal(await valueOf(metrics, "key_failure", { code: "KEY_CHANGED" }), undefined);
  });

  test("show the hash of the key in use alone, and count changes of key but not the first key", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    metrics.key("key-1");
    metrics.key("key-1");
    assert.equal(await valueOf(metrics, "key_changes_total"), 0);
    metrics.key("key-2");
    assert.equal(await valueOf(metrics, "key_changes_total"), 1);
    assert.equal(await valueOf(metrics, "key_id_hash_info", { key_id_hash: keyIdHash("key-1") }), undefined);
    assert.equal(await valueOf(metrics, "key_id_hash_info", { key_id_hash: keyIdHash("key-2") }), 1);
    metrics.key("key-2");
    assert.equal(await valueOf(metrics, "key_changes_total"), 1);
  });

  test("never hold the key_id itself", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    metrics.key("b3f1c6de-0000-4000-8000-aabbccddeeff");
    assert.doesNotMatch(await metrics.render(), /b3f1c6de/);
  });

  test("have the dates of the key that is in use now", async () => {
    const metrics = createMetrics({ version: "1.2.3", protocol: "kmip" });
    metrics.keyDates({ protectStop: new Date(1_000_000), deactivation: new Date(2_000_000) });
    metrics.keyDates({ deactivation: new Date(3_000_000) });
    assert.equal(await valueOf(metrics, "key_date_timestamp_seconds", { date: "protect-stop" }), undefined);
    assert.equal(await valueOf(metrics, "key_date_timestamp_seconds", { date: "deactivation" }), 3_000);
  });

  test("replace the ends of certificates as a whole, so that a file no longer used is gone", async () => {
    const metrics = createMetrics({ version: "1", protocol: "kmip" });
    const name = "certificate_not_after_timestamp_seconds";
    metrics.certificates([{ file: "old.pem", notAfter: new Date(1_000_000) }]);
    metrics.certificates([{ file: 'new "1".pem', notAfter: new Date(2_000_000) }]);
    assert.equal(await valueOf(metrics, name, { file: "old.pem" }), undefined);
    assert.equal(await valueOf(metrics, name, { file: 'new "1".pem' }), 2000);
  });

  test("tell the version, Node's and the protocol", async () => {
    const metrics = createMetrics({ version: "1.2.3", protocol: "rest" });
    const labels = { version: "1.2.3", node_version: process.version, protocol: "rest" };
    assert.equal(await valueOf(metrics, "build_info", labels), 1);
  });

  test("of two makings do not meet in one process", async () => {
    const one = createMetrics({ version: "1", protocol: "kmip" });
    const other = createMetrics({ version: "1", protocol: "kmip" });
    one.socketRebind();
    assert.equal(await valueOf(other, "socket_rebinds_total"), 0);
  });
});

describe("the hash of a key_id", () => {
  // Computed with `printf %s … | sha256sum`; the first is kube-apiserver's own for the key_id `1`.
  const rows: readonly (readonly [keyId: string, hash: string])[] = [
    ["1", "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"],
    ["clé", "sha256:51cbcf30514d0802eb5c60a018f384ea3fb9b69307c554ee63ecb43177594de4"],
    ["", ""],
  ];
  for (const [keyId, hash] of rows) {
    test(`of ${JSON.stringify(keyId)} is kube-apiserver's`, () => {
      assert.equal(keyIdHash(keyId), hash);
    });
  }
});

test("An idle process is not woken for the sake of metrics", async () => {
  const script = `
    import { createMetrics } from ${JSON.stringify(new URL("../src/metrics.ts", import.meta.url).href)};
    import { readFileSync } from "node:fs";
    const switches = () => Number(/^voluntary_ctxt_switches:\\s+(\\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);
    createMetrics({ version: "1", protocol: "kmip" });
    setTimeout(() => {
      const before = switches();
      setTimeout(() => console.log(switches() - before), 1000);
    }, 500);`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  // Node's own timer took 100 a second.
  assert.ok(Number(stdout) < 60, `${stdout.trim()} times a second`);
});

/**
 * Prometheus metrics of the whole program, prefix `okms_encryption_provider_`; docs/monitoring.md explains each.
 * Every label has few values: names that come from outside are limited to a fixed or a bounded set. Leaves out the
 * serving of them, which is server/http.ts.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "@prometheus-io/client";
import type { ConnectionCounts, KeyDates, KmsEvent } from "./encryptors/encryptor.ts";
import type { ErrorCode } from "./errors.ts";
import { keyIdHash } from "./text/key-id-hash.ts";
import type { TlsMaterial } from "./net/tls.ts";

const prefix = "okms_encryption_provider_";

/** Upper bounds of every duration histogram, in seconds: 0.5 ms to 10 s. */
export const durationBuckets = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
] as const;

/** The methods that the socket serves; a call of any other counts as `other`. */
const knownMethods = new Set(["Status", "Encrypt", "Decrypt", "Check", "Watch", "ServerReflectionInfo"]);
/** Why a call, connection or session was turned away; `unexpected` counts uncaught failures. */
const rejectionReasons = ["overloaded", "connection", "session", "unexpected"] as const;
/** The states of the key, as in server/key. */
const keyStates = ["unknown", "ok", "grace", "transient", "permanent"] as const;
type KeyStateName = (typeof keyStates)[number];
/** Most distinct values of a label whose values this file does not list. */
const maxLabelValues = 64;

/** How {@link Metrics} are made. */
export interface MetricsOptions {
  /** The program's version, for build_info. */
  readonly version: string;
  /** `kmip` or `rest`: a label of what concerns the KMS. */
  readonly protocol: "kmip" | "rest";
}

/** What is counted and measured. No method throws; none takes anything secret. */
export interface Metrics {
  /** A call on the socket was answered: method as `Encrypt`, gRPC code as `OK`, time taken in seconds. */
  request(method: string, code: string, seconds: number): void;
  /** A call came in, or left. */
  inflight(delta: 1 | -1): void;
  /** A call, connection or session was turned away. */
  rejected(reason: string): void;
  /** An event of the encryptor. */
  kms(event: KmsEvent): void;
  /** Where the connections to the KMS are counted, for each time that they are asked for. */
  connections(source: () => ConnectionCounts): void;
  /** A probe of the key has ended. */
  probe(kind: "light" | "deep", outcome: "ok" | "transient" | "permanent", seconds: number): void;
  /** The key in use; exposed as its hash. */
  key(keyId: string): void;
  /** The state of the key, and the error code of its failure where there is one. */
  keyState(state: KeyStateName, failure: ErrorCode | undefined): void;
  /** The dates of the key in use; replaces what was given before. */
  keyDates(dates: KeyDates): void;
  /** When the certificates in use end; replaces what was given before. */
  certificates(list: TlsMaterial["notAfter"]): void;
  /** Certificate files were read again, and accepted or refused. */
  reload(outcome: "ok" | "refused"): void;
  /** The socket file was missing and was created again. */
  socketRebind(): void;
  /** From now on `lost` is asked how many lines of the log could not be written. */
  logLines(lost: () => number): void;
  /** Everything in the Prometheus text format. */
  render(): Promise<string>;
  /** The media type of what `render` gives. */
  readonly contentType: string;
}

/** Makes metrics of their own registry: two of them in one process do not meet. */
export function createMetrics(options: MetricsOptions): Metrics {
  const register = new Registry();
  const make = createMaker(register);
  describeProcess(register, make);
  describeBuild(make, options);
  return {
    ...createRequestMetrics(make),
    ...createKeyMetrics(make),
    ...createUpkeepMetrics(make),
    ...createKmsMetrics(make, options.protocol),
    render: () => register.metrics(),
    contentType: register.contentType,
  };
}

type Labels = readonly string[];

/** Makes the metrics of a registry: names get the prefix; `collect` sets the values just before they are read. */
interface Maker {
  counter(name: string, help: string, labels?: Labels, collect?: () => void): Counter<string>;
  gauge(name: string, help: string, labels?: Labels, collect?: () => void): Gauge<string>;
  /** A histogram with {@link durationBuckets}. */
  duration(name: string, help: string, labels?: Labels): Histogram<string>;
}

function createMaker(register: Registry): Maker {
  const optionsOf = (name: string, help: string, labels: Labels = [], collect?: () => void) => ({
    name: `${prefix}${name}`,
    help,
    labelNames: [...labels],
    registers: [register],
    ...(collect === undefined ? {} : { collect }),
  });
  return {
    counter: (...given) => new Counter(optionsOf(...given)),
    gauge: (...given) => new Gauge(optionsOf(...given)),
    duration: (...given) => new Histogram({ ...optionsOf(...given), buckets: [...durationBuckets] }),
  };
}

/** CPU, memory, open files, garbage collection: the library's own, under their usual names. And the event loop. */
function describeProcess(register: Registry, make: Maker): void {
  // The histogram of the event loop's delay wakes the process 100 times a second, and its values begin at the 10 ms between.
  const never = 86_400_000;
  collectDefaultMetrics({
    register,
    eventLoopMonitoringPrecision: never,
    eventLoopUtilizationTimeout: never,
  });
  // The library's own of the utilization wake it ten times a second.
  for (const kind of ["histogram", "summary"])
    register.removeSingleMetric(`nodejs_eventloop_utilization_${kind}`);
  for (const figure of ["min", "max", "mean", "stddev", "p50", "p90", "p99"])
    register.removeSingleMetric(`nodejs_eventloop_lag_${figure}_seconds`);
  let last = performance.eventLoopUtilization();
  const utilization = make.gauge(
    "event_loop_utilization",
    "Part of the time since the last scrape, 0 to 1, in which the event loop was busy.",
    [],
    () => {
      const now = performance.eventLoopUtilization();
      utilization.set(performance.eventLoopUtilization(now, last).utilization);
      last = now;
    },
  );
  // Gauges that are named as counters, which `promtool check metrics` complains about; each is there by type too.
  for (const what of ["handles", "requests", "resources"])
    register.removeSingleMetric(`nodejs_active_${what}_total`);
}

function describeBuild(make: Maker, { version, protocol }: MetricsOptions): void {
  make
    .gauge(
      "build_info",
      "Always 1; the version of the program, of Node.js, and the protocol spoken to the KMS.",
      ["version", "node_version", "protocol"],
    )
    .set({ version, node_version: process.version, protocol }, 1);
}

function createRequestMetrics(make: Maker): Pick<Metrics, "request" | "inflight" | "rejected"> {
  const total = make.counter("requests_total", "Calls answered on the socket, by method and gRPC code.", [
    "method",
    "code",
  ]);
  const duration = make.duration(
    "request_duration_seconds",
    "Time from a call's headers to its answer, by method and gRPC code.",
    ["method", "code"],
  );
  const inflight = make.gauge("inflight_requests", "Calls in progress that need the KMS.");
  const rejected = make.counter("rejected_total", "Calls, connections and sessions refused, by reason.", [
    "reason",
  ]);
  const codes = boundedLabel();
  const seriesOf = cached((method: string, code: string) => {
    const labels = { method, code };
    return { total: total.labels(labels), duration: duration.labels(labels) };
  });
  const reasons = boundedLabel();
  // A series that appears only with its first event has no rate for it: begin those that alerts use at zero.
  for (const method of ["Status", "Encrypt", "Decrypt"]) total.inc({ method, code: "OK" }, 0);
  for (const reason of rejectionReasons) rejected.inc({ reason: reasons(reason) }, 0);
  return {
    request(method, code, seconds) {
      const series = seriesOf(knownMethods.has(method) ? method : "other", codes(code));
      series.total.inc();
      series.duration.observe(seconds);
    },
    inflight: (delta) => inflight.inc(delta),
    rejected: (reason) => rejected.inc({ reason: reasons(reason) }),
  };
}

function createKmsMetrics(make: Maker, protocol: "kmip" | "rest"): Pick<Metrics, "kms" | "connections"> {
  const total = make.counter(
    "kms_requests_total",
    "Requests to the KMS, by protocol, operation and outcome: ok, or the error code of docs/troubleshooting.md.",
    ["protocol", "operation", "outcome"],
  );
  const duration = make.duration(
    "kms_request_duration_seconds",
    "Time from the sending of a request to the KMS to its reply or failure.",
    ["protocol", "operation", "outcome"],
  );
  let source: (() => ConnectionCounts) | undefined;
  const connections = make.gauge(
    "kms_connections",
    "Connections to the KMS, by state: idle, busy, connecting.",
    ["state"],
    () => {
      for (const [state, count] of Object.entries(source?.() ?? {})) connections.set({ state }, count);
    },
  );
  const up = make.gauge("kms_endpoint_up", "1 if the server answered at the last attempt, 0 if it did not.", [
    "endpoint",
  ]);
  const inUse = make.gauge(
    "kms_endpoint_in_use",
    "1 for the server that requests go to now, 0 for the others.",
    ["endpoint"],
  );
  const operations = boundedLabel();
  const seriesOf = cached((operation: string, outcome: string) => {
    const labels = { protocol, operation, outcome };
    return { total: total.labels(labels), duration: duration.labels(labels) };
  });
  const endpoints = boundedLabel();
  let endpointInUse: string | undefined;

  function setInUse(endpoint: string, isInUse: boolean): void {
    if (isInUse && endpointInUse !== undefined) inUse.set({ endpoint: endpointInUse }, 0);
    if (isInUse) endpointInUse = endpoint;
    inUse.set({ endpoint }, isInUse ? 1 : 0);
  }

  function kms(event: KmsEvent): void {
    switch (event.type) {
      case "exchange": {
        const series = seriesOf(operations(event.operation), event.outcome);
        series.total.inc();
        series.duration.observe(event.durationMs / 1000);
        break;
      }
      case "endpoint": {
        const endpoint = endpoints(event.endpoint);
        up.set({ endpoint }, event.up ? 1 : 0);
        setInUse(endpoint, event.inUse);
        break;
      }
      default:
      // Connections are counted when they are asked for, and a message's dump is for the log alone.
    }
  }
  return {
    kms,
    connections(given) {
      source = given;
    },
  };
}

function createKeyMetrics(make: Maker): Pick<Metrics, "probe" | "key" | "keyState" | "keyDates"> {
  const total = make.counter(
    "probe_total",
    "Probes of the key, by kind (light, deep) and outcome (ok, transient, permanent).",
    ["kind", "outcome"],
  );
  const duration = make.duration("probe_duration_seconds", "Time that a probe of the key took, by kind.", [
    "kind",
  ]);
  const lastGood = make.gauge(
    "last_successful_probe_timestamp_seconds",
    "When a probe of the key last succeeded, in seconds since 1970; 0 where none has.",
  );
  const lastDeep = make.gauge(
    "last_successful_deep_probe_timestamp_seconds",
    "When a deep probe of the key last succeeded, in seconds since 1970; 0 where none has.",
  );
  const hashInfo = make.gauge(
    "key_id_hash_info",
    "Always 1; the key in use, as the hash in kube-apiserver's apiserver_envelope_encryption_key_id_hash metrics.",
    ["key_id_hash"],
  );
  const changes = make.counter("key_changes_total", "How often another key came into use.");
  for (const kind of ["light", "deep"]) {
    for (const outcome of ["ok", "transient", "permanent"]) total.inc({ kind, outcome }, 0);
  }
  let current: string | undefined;
  return {
    probe(kind, outcome, seconds) {
      total.inc({ kind, outcome });
      duration.observe({ kind }, seconds);
      if (outcome !== "ok") return;
      lastGood.set(Date.now() / 1000);
      if (kind === "deep") lastDeep.set(Date.now() / 1000);
    },
    key(keyId) {
      if (keyId === current) return;
      if (current !== undefined) changes.inc();
      current = keyId;
      hashInfo.reset();
      hashInfo.set({ key_id_hash: keyIdHash(keyId) }, 1);
    },
    ...createKeyStateMetrics(make),
  };
}

function createKeyStateMetrics(make: Maker): Pick<Metrics, "keyState" | "keyDates"> {
  const states = make.gauge(
    "key_state",
    "1 for the state of the key, 0 for the others: unknown, ok, grace, transient, permanent.",
    ["state"],
  );
  const failures = make.gauge(
    "key_failure",
    "Always 1; the error code of docs/troubleshooting.md with which the key fails now. No series while it is ok.",
    ["code"],
  );
  const dates = make.gauge(
    "key_date_timestamp_seconds",
    "Dates of the key in use, in seconds since 1970: process-start, protect-stop, deactivation.",
    ["date"],
  );
  for (const state of keyStates) states.set({ state }, state === "unknown" ? 1 : 0);
  return {
    keyState(now, code) {
      for (const state of keyStates) states.set({ state }, state === now ? 1 : 0);
      failures.reset();
      if (code !== undefined) failures.set({ code }, 1);
    },
    keyDates({ processStart, protectStop, deactivation }) {
      dates.reset();
      const all = { "process-start": processStart, "protect-stop": protectStop, deactivation };
      for (const [date, at] of Object.entries(all))
        if (at !== undefined) dates.set({ date }, at.getTime() / 1000);
    },
  };
}

function createUpkeepMetrics(
  make: Maker,
): Pick<Metrics, "certificates" | "reload" | "socketRebind" | "logLines"> {
  const notAfter = make.gauge(
    "certificate_not_after_timestamp_seconds",
    "When the first certificate of the file expires, in seconds since 1970.",
    ["file"],
  );
  const reloads = make.counter(
    "reload_total",
    "Reads of the certificate files: ok, new ones that were loaded; refused, ones that cannot be used, at each read while they are there.",
    ["outcome"],
  );
  const rebinds = make.counter(
    "socket_rebinds_total",
    "How often the socket file was missing and was created again.",
  );
  let lostLines: (() => number) | undefined;
  const lost = make.counter(
    "log_lines_lost_total",
    "Lines of the log that could not be written: a full disk, a reader that has exited or is too slow.",
    [],
    () => {
      lost.reset();
      lost.inc(lostLines?.() ?? 0);
    },
  );
  for (const outcome of ["ok", "refused"]) reloads.inc({ outcome }, 0);
  return {
    certificates(list) {
      notAfter.reset();
      for (const { file, notAfter: end } of list) notAfter.set({ file }, end.getTime() / 1000);
    },
    reload: (outcome) => reloads.inc({ outcome }),
    socketRebind: () => rebinds.inc(),
    logLines(given) {
      lostLines = given;
    },
  };
}

/** Gives a label's value back, or `other` once there are {@link maxLabelValues} distinct ones. */
function boundedLabel(): (value: string) => string {
  const seen = new Set<string>();
  return (value) => {
    if (seen.has(value)) return value;
    if (seen.size >= maxLabelValues) return "other";
    seen.add(value);
    return value;
  };
}

/** Makes the series of two labels' values once: to look one up by its labels costs more than to count. */
function cached<T>(make: (first: string, second: string) => T): (first: string, second: string) => T {
  const made = new Map<string, Map<string, T>>();
  return (first, second) => {
    let ofFirst = made.get(first);
    if (ofFirst === undefined) made.set(first, (ofFirst = new Map()));
    let series = ofFirst.get(second);
    if (series === undefined) ofFirst.set(second, (series = make(first, second)));
    return series;
  };
}

/** What a plugin has done by its own metrics, by its log and by /proc, at one moment and between two. */
import { percentile } from "../bench/load.ts";
import { residentBytes } from "../bench/processes.ts";
import { type Family, parseExposition } from "../exposition.ts";
import { cpuSeconds, peakBytes } from "./process-figures.ts";

const prefix = "okms_encryption_provider_";
const methods = ["Status", "Encrypt", "Decrypt"] as const;
type Method = (typeof methods)[number];
type Counts = Readonly<Record<string, number>>;

/** What is counted. */
interface Counted {
  /** Calls answered with OK. */
  readonly calls: Readonly<Record<Method, number>>;
  /** Calls answered with anything else, and what was turned away; in words, each with its count. */
  readonly failed: Counts;
  /** Requests to the KMS by operation. */
  readonly kms: Counts;
  /** Those of them that brought no good answer, by operation and outcome; another may have been sent in their place. */
  readonly lost: Counts;
  readonly cpuSeconds: number;
}

/** What a plugin has done since its start. */
export interface Look extends Counted {
  /** Unix time, in ms. */
  readonly at: number;
  readonly residentBytes: number;
  readonly peakBytes: number;
}

/** Of some calls, in ms; NaN where there was none. */
export interface Times {
  readonly p50: number;
  readonly p99: number;
}

/** What a plugin has done between two looks. */
export interface Work extends Counted {
  readonly seconds: number;
  readonly statusMs: Times;
  /** Of Encrypt and Decrypt. */
  readonly kmsMs: Times;
  /** At the second look. */
  readonly residentBytes: number;
  readonly peakBytes: number;
}

/** A call answered with OK, as the log tells of it. */
export interface LoggedCall {
  /** Unix time, in ms. */
  readonly at: number;
  readonly method: string;
  readonly ms: number;
}

/** Makes a look. @param page of the plugin's metrics. @throws Error where that is not as Prometheus wants it */
export function lookAt(pid: number, page: string): Look {
  return {
    at: Date.now(),
    ...countsOf(parseExposition(page)),
    cpuSeconds: cpuSeconds(pid),
    residentBytes: residentBytes(pid),
    peakBytes: peakBytes(pid),
  };
}

function countsOf(families: ReadonlyMap<string, Family>): Pick<Look, "calls" | "failed" | "kms" | "lost"> {
  const samplesOf = (name: string): Family["samples"] => families.get(prefix + name)?.samples ?? [];
  const calls = { Status: 0, Encrypt: 0, Decrypt: 0 };
  const failed: Record<string, number> = {};
  const kms: Record<string, number> = {};
  const lost: Record<string, number> = {};
  for (const { labels, value } of samplesOf("requests_total")) {
    const method = methods.find((each) => each === labels["method"]);
    if (labels["code"] !== "OK") add(failed, `${labels["method"]} ${labels["code"]}`, value);
    else if (method !== undefined) calls[method] += value;
  }
  // `session` counts each kube-apiserver that ends too: grpc-go's last GOAWAY names a stream of its own, which breaks the
  // protocol. No call is lost by it.
  for (const { labels, value } of samplesOf("rejected_total"))
    if (labels["reason"] !== "session") add(failed, `turned away: ${labels["reason"]}`, value);
  for (const { labels, value } of samplesOf("kms_requests_total")) {
    if (labels["outcome"] !== "ok") add(lost, `${labels["operation"]} ${labels["outcome"]}`, value);
    add(kms, labels["operation"] ?? "", value);
  }
  return { calls, failed, kms, lost };
}

function add(counts: Record<string, number>, name: string, value: number): void {
  if (value > 0) counts[name] = (counts[name] ?? 0) + value;
}

/** What was done from one look to another. @param logged at least the calls between them */
export function workBetween(from: Look, to: Look, logged: readonly LoggedCall[]): Work {
  const calls = logged.filter(({ at }) => at > from.at && at <= to.at);
  return {
    seconds: (to.at - from.at) / 1000,
    calls: {
      Status: to.calls.Status - from.calls.Status,
      Encrypt: to.calls.Encrypt - from.calls.Encrypt,
      Decrypt: to.calls.Decrypt - from.calls.Decrypt,
    },
    failed: rises(from.failed, to.failed),
    kms: rises(from.kms, to.kms),
    lost: rises(from.lost, to.lost),
    cpuSeconds: to.cpuSeconds - from.cpuSeconds,
    statusMs: timesOf(calls.filter(({ method }) => method === "Status")),
    kmsMs: timesOf(calls.filter(({ method }) => method === "Encrypt" || method === "Decrypt")),
    residentBytes: to.residentBytes,
    peakBytes: to.peakBytes,
  };
}

function rises(from: Counts, to: Counts): Counts {
  const all = Object.entries(to).map(([name, value]) => [name, value - (from[name] ?? 0)] as const);
  return Object.fromEntries(all.filter(([, rise]) => rise > 0));
}

function timesOf(calls: readonly LoggedCall[]): Times {
  const sorted = calls.map(({ ms }) => ms).toSorted((a, b) => a - b);
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) };
}

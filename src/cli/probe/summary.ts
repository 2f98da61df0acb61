/**
 * What the rounds of one run add up to: how many failed and why, the times of each call, and how all of it is
 * printed.
 */
import { keyIdHash } from "../../text/key-id-hash.ts";
import { steps, type Round, type Step } from "./round.ts";

/** Times of one call over all rounds, in ms. */
export interface Times {
  readonly min: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** A failure, and how many rounds it ended. */
export interface CountedFailure {
  readonly step: Step;
  readonly message: string;
  readonly advice: string;
  readonly count: number;
}

/** The outcome of a run. */
export interface Summary {
  readonly ok: boolean;
  readonly rounds: number;
  readonly failures: readonly CountedFailure[];
  /** What was seen, of the last round that succeeded up to that step. */
  readonly seen: Readonly<Partial<Record<Step, string>>>;
  readonly times: Readonly<Partial<Record<Step, Times>>>;
  /** What is no failure, and yet should be known. */
  readonly notes: readonly string[];
  readonly keyIdHash?: string;
}

/** What the Kubernetes documentation asks of a plugin, in ms. Nothing enforces it. */
const recommendedMs: Readonly<Partial<Record<Step, number>>> = { Encrypt: 100, Decrypt: 10 };

/** From so many rounds on the times are the plugin's, and not those of a program that has just started. */
const tellingRounds = 10;

/** Adds rounds up. */
export function summarize(rounds: readonly Round[]): Summary {
  const failures = countFailures(rounds);
  const times: Partial<Record<Step, Times>> = {};
  const seen: Partial<Record<Step, string>> = {};
  for (const step of steps) {
    const values = rounds.flatMap(({ ms }) => ms[step] ?? []);
    if (values.length > 0) times[step] = timesOf(values);
    const last = rounds.findLast((round) => round.seen[step] !== undefined)?.seen[step];
    if (last !== undefined) seen[step] = last;
  }
  const keyId = rounds.findLast((round) => round.keyId !== undefined)?.keyId;
  return {
    ok: failures.length === 0,
    rounds: rounds.length,
    failures,
    seen,
    times,
    notes: rounds.length < tellingRounds ? [] : notesOn(times),
    ...(keyId !== undefined && { keyIdHash: keyIdHash(keyId) }),
  };
}

function countFailures(rounds: readonly Round[]): CountedFailure[] {
  const counted = new Map<string, CountedFailure>();
  for (const { failure } of rounds) {
    if (failure === undefined) continue;
    const key = `${failure.step} ${failure.message}`;
    counted.set(key, { ...failure, count: (counted.get(key)?.count ?? 0) + 1 });
  }
  return [...counted.values()];
}

function notesOn(times: Summary["times"]): string[] {
  return steps.flatMap((step) => {
    const limit = recommendedMs[step];
    const p50 = times[step]?.p50;
    if (limit === undefined || p50 === undefined || p50 <= limit) return [];
    return `half of all ${step} calls take more than ${inMs(p50)} ms: Kubernetes recommends less than ${limit} ms`;
  });
}

/** Nearest rank: each is a time that was measured. */
function timesOf(values: readonly number[]): Times {
  const sorted = values.toSorted((a, b) => a - b);
  const rank = (share: number): number =>
    sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  return { min: rank(0), p50: rank(0.5), p99: rank(0.99), max: rank(1) };
}

/** A run as lines for people: ✔ or ✖ a step, then the times. */
export function renderSummary(summary: Summary): string {
  const lines = steps.flatMap((step) => stepLines(step, summary));
  const notes = summary.notes.map((note) => `! ${note}`);
  return `${[...lines, ...timeTable(summary), ...notes].join("\n")}\n`;
}

function stepLines(step: Step, { failures, seen, rounds }: Summary): string[] {
  const own = failures.filter((failure) => failure.step === step);
  if (own.length === 0) {
    const what = seen[step];
    return what === undefined ? [`— ${step.padEnd(8)} skipped`] : [`✔ ${step.padEnd(8)} ${what}`];
  }
  return own.flatMap(({ message, advice, count }) => {
    const share = rounds === 1 ? "" : ` (${count} of ${rounds})`;
    return [`✖ ${step.padEnd(8)} ${message}${share}`, `  ${"".padEnd(8)} → ${advice}`];
  });
}

function timeTable({ times, rounds }: Summary): string[] {
  const columns = ["min", "p50", "p99", "max"] as const;
  const measured = steps.filter((step) => times[step] !== undefined);
  if (measured.length === 0) return [];
  if (rounds === 1) {
    return [`  times    ${measured.map((step) => `${step} ${inMs(times[step]?.max)} ms`).join(", ")}`];
  }
  const head = `  ms       ${columns.map((column) => column.padStart(9)).join("")}   (${rounds} rounds)`;
  const rows = measured.map((step) => {
    const cells = columns.map((column) => inMs(times[step]?.[column]).padStart(9));
    return `  ${step.padEnd(9)}${cells.join("")}`;
  });
  return [head, ...rows];
}

/** A run as one line with its time, for --watch. */
export function renderLine(summary: Summary, now: Date): string {
  const [failure] = summary.failures;
  const key = summary.keyIdHash === undefined ? "" : `, key ${summary.keyIdHash.slice(0, 19)}…`;
  const text =
    failure === undefined
      ? steps.map((step) => `${step} ${inMs(summary.times[step]?.p50)} ms`).join(", ") + key
      : `${failure.step}: ${failure.message} → ${failure.advice}`;
  return `${now.toISOString()} ${summary.ok ? "✔" : "✖"} ${text}\n`;
}

/** A run as one JSON object on a line. Times are in milliseconds. */
export function renderJson(summary: Summary, now: Date): string {
  const { ok, rounds, failures, times, notes, keyIdHash: hash } = summary;
  const failed = failures.reduce((sum, { count }) => sum + count, 0);
  const rounded = Object.fromEntries(
    Object.entries(times).map(([step, all]) => [
      step,
      Object.fromEntries(Object.entries(all).map(([name, value]) => [name, Number(inMs(value))])),
    ]),
  );
  const body = {
    time: now.toISOString(),
    ok,
    rounds,
    failed,
    key_id_hash: hash,
    ms: rounded,
    failures,
    notes,
  };
  return `${JSON.stringify(body)}\n`;
}

function inMs(value: number | undefined): string {
  return value === undefined ? "-" : value.toFixed(2);
}

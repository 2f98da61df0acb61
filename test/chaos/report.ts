/** The end of a run, for people: a row for each fault with what Status had to say, then the counts. */
import { mebibytes } from "./resources.ts";
import type { ChaosReport } from "./run.ts";
import { graceMs, probeIntervalMs, roundTripMs } from "./world.ts";

/** What a reader has to know before the numbers. */
export function preamble(seed: number): string {
  return [
    `seed ${seed}; 16 callers and one that asks for Status, round trip ${roundTripMs} ms,`,
    `--probe-interval ${probeIntervalMs / 1000}s (a label that moves is seen by the next probe), --status-grace ${graceMs / 1000}s`,
  ].join("\n");
}

/** A report as lines. */
export function reportLines(report: ChaosReport): string[] {
  const header = [
    "fault",
    "times",
    "failed",
    "slowest",
    "Status must say",
    "when",
    "right after",
    "ok after",
  ];
  const rows = report.faults.map(({ name, times, failed, slowestMs, status, statusRightMs, statusOkMs }) => [
    name,
    String(times),
    String(failed),
    milliseconds(slowestMs),
    ...status,
    milliseconds(statusRightMs),
    milliseconds(statusOkMs),
  ]);
  const [before, after] = report.resources;
  return [
    "",
    `${report.protocol}:`,
    ...table([header, ...rows]),
    `${report.encrypts} Encrypts, ${report.decrypts} Decrypts and ${report.statuses} Statuses answered; ${report.failed} calls failed; clients left in the middle of ${report.left}`,
    `latest answer: ${report.mostLateMs.toFixed(0)} ms past its deadline (${report.mostLateSeenMs.toFixed(0)} ms as seen, with the delays of the callers' own process and of the machine); allowed: ${report.lateLimitMs} ms`,
    `heap in use after a collection ${mebibytes(before.heapBytes)} → ${mebibytes(after.heapBytes)} MiB, resident set ${mebibytes(before.residentBytes)} → ${mebibytes(after.residentBytes)} MiB, open files ${before.files} → ${after.files}, connections to the KMS ${before.connections} → ${after.connections}`,
    ...(report.wrong.length === 0 ? ["✔ nothing that must not be"] : report.wrong.map((what) => `✖ ${what}`)),
  ];
}

function milliseconds(ms: number): string {
  return ms === 0 ? "" : `${Math.round(ms)} ms`;
}

function table(rows: readonly string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

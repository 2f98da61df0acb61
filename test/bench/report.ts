/** How the benchmarks print: a heading, a table with right-aligned figures, and a line a target. */

import type { LoadResult } from "./load.ts";

/** Prints a heading. */
export function heading(text: string): void {
  console.log(`\n## ${text}\n`);
}

/** Prints rows under column names; the first column to the left, the others to the right. */
export function table(columns: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = columns.map((name, index) =>
    Math.max(name.length, ...rows.map((row) => (row[index] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, index) => (index === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[index] ?? 0)))
      .join("  ");
  console.log(line(columns));
  console.log(widths.map((width) => "-".repeat(width)).join("  "));
  for (const row of rows) console.log(line(row));
}

/** Prints a target of an issue, what was measured, and whether it was reached. */
export function target(text: string, measured: number, limit: number, kind: "at most" | "at least"): void {
  const reached = kind === "at most" ? measured <= limit : measured >= limit;
  console.log(`${reached ? "✔" : "✖"} ${text}: ${measured.toFixed(2)} (to reach: ${kind} ${limit})`);
}

/** A number of milliseconds, to three digits after the point. */
const ms = (value: number): string => value.toFixed(3);
/** A whole number with thin groups. */
export const whole = (value: number): string => Math.round(value).toLocaleString("en").replaceAll(",", " ");
/** Bytes as MiB. */
export const mib = (bytes: number): string => (bytes / 1024 / 1024).toFixed(1);

/** Milliseconds with their unit. */
export const msText = (value: number): string => `${value.toFixed(value < 10 ? 2 : 0)} ms`;
/** Calls per second with their unit. */
export const perSecondText = (value: number): string => `${whole(value)}/s`;
/** Bytes as MiB with their unit. */
export const mibText = (bytes: number): string => `${mib(bytes)} MiB`;

/** The columns of {@link loadCells}. */
export const loadColumns = ["calls/s", "p50 ms", "p99 ms", "failed"] as const;
/** A load's outcome as cells of a table. */
export const loadCells = ({ perSecond, p50, p99, failures }: LoadResult): string[] => [
  whole(perSecond),
  ms(p50),
  ms(p99),
  String(failures),
];

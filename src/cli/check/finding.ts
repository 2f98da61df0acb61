/** What a check found, and how findings are printed: a line each for people, one JSON object for programs. */

import { amount, printable } from "../render.ts";

/** One check's outcome. */
export interface Finding {
  /** What was checked, in a few words: `dates`, `tcp kms:5696`. Stable for the same flags. */
  readonly name: string;
  /** `warning`: it works, and yet should be known. `skipped`: not tried, for an earlier one failed. */
  readonly status: "ok" | "warning" | "failed" | "skipped";
  /** What was seen. */
  readonly message: string;
  /** What to do about it. */
  readonly advice?: string;
}

/** It is as it must be. */
export function ok(name: string, message: string): Finding {
  return { name, status: "ok", message };
}

/** It works, and yet should be known. */
export function warning(name: string, message: string, advice: string): Finding {
  return { name, status: "warning", message, advice };
}

/** It is wrong: `advice` says what to do. */
export function failed(name: string, message: string, advice: string): Finding {
  return { name, status: "failed", message, advice };
}

/** Not tried. */
export function skipped(name: string, because: string): Finding {
  return { name, status: "skipped", message: because };
}

/** Several, not tried for the same reason. */
export function allSkipped(names: readonly string[], because: string): Finding[] {
  return names.map((name) => skipped(name, because));
}

/** Whether nothing is wrong. */
export function hasPassed(findings: readonly Finding[]): boolean {
  return findings.every(({ status }) => status !== "failed");
}

const marks: Readonly<Record<Finding["status"], string>> = {
  ok: "✔",
  warning: "!",
  failed: "✖",
  skipped: "—",
};

/** Longest text of a finding, in UTF-16 code units: an identifier or a name that a KMS gives may have any length. */
const maxShown = 2000;

/** A finding as a line, with what to do on the next. What a KMS says cannot steer the terminal. */
export function renderFinding({ name, status, message, advice }: Finding, width: number): string {
  const line = `${marks[status]} ${name.padEnd(width)}  ${shown(message)}\n`;
  return advice === undefined ? line : `${line}  ${"".padEnd(width)}  → ${shown(advice)}\n`;
}

function shown(text: string): string {
  return printable(text.length > maxShown ? `${text.slice(0, maxShown)}…` : text);
}

/** The last line: how many of each. */
export function renderTotal(findings: readonly Finding[]): string {
  const count = (status: Finding["status"]): number => findings.filter((one) => one.status === status).length;
  const wrong = count("failed");
  const warnings = count("warning");
  const noted = warnings === 0 ? "" : `, ${amount(warnings, "warnings")}`;
  if (wrong === 0) return `all checks passed: ${count("ok")}${noted}\n`;
  return `${wrong} failed, ${count("ok")} passed${noted}, ${count("skipped")} skipped\n`;
}

/** All findings as one JSON object on a line. */
export function renderJson(findings: readonly Finding[]): string {
  return `${JSON.stringify({ ok: hasPassed(findings), checks: findings })}\n`;
}

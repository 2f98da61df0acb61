/** What commands print on a terminal: numbers of things, tables, failures, and text from outside on one line. */
import type { ProviderError } from "../errors.ts";

/** A number with its noun: `1 secret`, `3 secrets`. @param noun in the plural, as resources are; the name of a custom one stays so */
export function amount(count: number, noun: string): string {
  return `${count} ${count === 1 && noun.endsWith("s") && !noun.includes(".") ? noun.slice(0, -1) : noun}`;
}

/**
 * The lines of a table: columns as wide as their longest text.
 * @param rows the first holds the headings
 * @param numbers columns, from 0, whose texts are to the right
 */
export function tableLines(rows: readonly (readonly string[])[], numbers: readonly number[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const cell = (text: string, column: number): string => {
    const width = widths[column] ?? 0;
    return numbers.includes(column) ? text.padStart(width) : text.padEnd(width);
  };
  return rows.map((row) => row.map(cell).join("  ").trimEnd());
}

/** The text on one line, without control characters or what turns the direction of writing: names may come from anybody. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "\uFFFD");
}

/**
 * A failure as a line for standard error: the message with its code. That of a fault of this program is left out: it may
 * quote what was worked on, which may be secret.
 */
export function failureText(error: ProviderError): string {
  if (error.kind !== "internal") return `${error.message} [${error.code}]`;
  const cause = error.cause instanceof Error ? error.cause : error;
  const frames = (cause.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
  return [
    `a fault of this program (${cause.name}): report it with these lines [${error.code}]`,
    ...frames,
  ].join("\n");
}

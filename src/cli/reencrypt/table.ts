/** Rows as a table: columns as wide as their longest text, numbers to the right. */

/** Renders rows, of which the first holds the headings. @param left how many columns are texts */
export function renderTable(rows: readonly (readonly string[])[], left: number): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const render = (row: readonly string[]): string =>
    row
      .map((text, column) => {
        const width = widths[column] ?? 0;
        return column < left ? text.padEnd(width) : text.padStart(width);
      })
      .join("  ")
      .trimEnd();
  return `${rows.map(render).join("\n")}\n`;
}

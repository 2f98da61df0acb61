/** The known word that a mistyped one most likely stood for. */

/**
 * The candidate that `word` most likely stood for: one that it is a part of (a part of three letters or more, or
 * the one beginning), one that differs from it in a third of its letters at most, or one that is a part of it.
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const plain = word.toLowerCase().replaceAll("_", "-").slice(0, 64);
  const beginnings = candidates.filter((candidate) => plain !== "" && candidate.startsWith(plain));
  if (beginnings.length === 1) return beginnings[0];
  if (plain.length < 3) return undefined;
  return (
    shortest(candidates.filter((candidate) => candidate.includes(plain))) ??
    fewestEdits(plain, candidates) ??
    candidates.find((candidate) => candidate.length > 3 && plain.includes(candidate))
  );
}

function shortest(candidates: readonly string[]): string | undefined {
  return candidates.toSorted((a, b) => a.length - b.length)[0];
}

function fewestEdits(word: string, candidates: readonly string[]): string | undefined {
  const counted = candidates.map((candidate) => ({ candidate, edits: editDistance(word, candidate) }));
  const best = counted.toSorted((a, b) => a.edits - b.edits)[0];
  return best !== undefined && best.edits <= Math.ceil(best.candidate.length / 3)
    ? best.candidate
    : undefined;
}

/** Optimal string alignment distance: insertions, deletions, replacements, swaps of neighbours. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, index) => index)];
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = at(rows, i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swapped = isSwap ? at(rows, i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY;
      row.push(Math.min(at(rows, i - 1, j) + 1, (row[j - 1] ?? 0) + 1, replaced, swapped));
    }
    rows.push(row);
  }
  return at(rows, a.length, b.length);
}

function at(rows: readonly (readonly number[])[], i: number, j: number): number {
  return rows[i]?.[j] ?? 0;
}

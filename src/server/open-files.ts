/** How many connections the limit of open files (RLIMIT_NOFILE) allows: connections to the KMS need files as well. */
import { readFileSync } from "node:fs";

/** Files that Node, the log and the certificates need, and some connections to the KMS. */
const reservedFiles = 32;
/** Where the limit cannot be read: systemd's default. */
const usualLimit = 1024;

/** `part` of the files that may be open beyond the reserved ones, from `least` to `most`. */
export function connectionsWithin(
  part: number,
  { least, most, limit = fileLimit() }: { readonly least: number; readonly most: number; limit?: number },
): number {
  return Math.max(least, Math.min(most, Math.floor((limit - reservedFiles) * part)));
}

/** The soft limit, which Node raises to the hard one at its start. */
function fileLimit(): number {
  try {
    const text = readFileSync("/proc/self/limits", "utf8");
    const limit = /^Max open files\s+(\d+|unlimited)/m.exec(text)?.[1];
    return limit === "unlimited" ? Infinity : Number(limit ?? usualLimit);
  } catch {
    return usualLimit;
  }
}

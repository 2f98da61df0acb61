/** What a run came to, as text for standard output. */
import { number } from "./progress.ts";
import { tableLines } from "../render.ts";
import { type ResourceState, sumOf } from "./state.ts";

/** A resource after the run. */
export interface ResourceResult {
  readonly name: string;
  readonly state: ResourceState;
  /** Objects before the run; undefined where it is not known. */
  readonly count: number | undefined;
  /** Why it was given up. */
  readonly error: string | undefined;
}

/** What --dry-run prints. @param how by which way they would be rewritten */
export function renderCounts(
  server: string,
  names: readonly string[],
  counts: ReadonlyMap<string, number | undefined>,
  how: string,
): string {
  const rows = names.map((name) => {
    const count = counts.get(name);
    return [name, count === undefined ? "?" : number(count)];
  });
  const table = tableLines([["RESOURCE", "OBJECTS"], ...rows], [1]).join("\n");
  return `${table}\nNothing was written. These would be rewritten through ${server} (${how}).\n`;
}

/** The table of a run, the objects that failed, and one sentence. @param failures named objects, at most some */
export function renderResult(results: readonly ResourceResult[], failures: readonly string[]): string {
  const isEmpty = ({ state, count, error }: ResourceResult): boolean =>
    error === undefined && state.status === "patched" && (count ?? 0) + sumOf(state.tally) === 0;
  const shown = results.filter((result) => !isEmpty(result));
  const empty = results.length - shown.length;
  const rows = shown.map(({ name, state, count, error }) => {
    const { rewritten, current, changed, gone, failed } = state.tally;
    const end = state.status === "open" ? (error === undefined ? "failed" : "given up") : state.status;
    return state.status === "migrated"
      ? [name, end, count === undefined ? "?" : number(count), "", "", "", ""]
      : [name, end, ...[rewritten, current, changed, gone, failed].map(number)];
  });
  const head = ["RESOURCE", "RESULT", "REWRITTEN", "CURRENT", "CHANGED", "GONE", "FAILED"];
  const named = failures.map((failure) => `✖ ${failure}\n`).join("");
  const others =
    empty === 0 ? "" : `${number(empty)} ${empty === 1 ? "resource holds" : "resources hold"} no object.\n`;
  const table = rows.length === 0 ? "" : `${tableLines([head, ...rows], [2, 3, 4, 5, 6]).join("\n")}\n`;
  return `${table}${others}${named}${sentence(results)}\n`;
}

function sentence(results: readonly ResourceResult[]): string {
  const sum = (kind: keyof ResourceState["tally"]): number =>
    results.reduce((total, { state: { tally } }) => total + tally[kind], 0);
  if (sum("failed") > 0 || results.some(({ error }) => error !== undefined))
    return "Not everything was rewritten. Fix what is named above, and run it again.";
  const isMigrated = results.some(({ state: { status } }) => status === "migrated");
  if (!isMigrated && sum("rewritten") === 0 && sum("current") > 0)
    return (
      "Nothing had to be rewritten: for the API server every object is current. " +
      "After a rotation it takes up to a minute until an API server knows the new key: if that was just now, run it again."
    );
  return "Everything is rewritten. `audit` says under which key each object is in etcd.";
}

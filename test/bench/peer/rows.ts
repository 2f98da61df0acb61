/** What is compared, row by row, and what issue 19 wants of each. */
import type { Kind, Protocol, RoundTrip } from "./processes.ts";

/** A bound on a figure; `of` says whether that is the ratio to Go's, or our own figure. Undefined: none, keep it. */
export interface Goal {
  readonly kind: "at most" | "at least";
  readonly limit: number;
  readonly of: "ratio" | "figure";
}

const ratio = (kind: Goal["kind"], limit: number): Goal => ({ kind, limit, of: "ratio" });
/** Our own figure is at most this. */
export const atMost = (limit: number): Goal => ({ kind: "at most", limit, of: "figure" });

/** Calls without a pause. */
export interface LoadRow {
  readonly work: string;
  readonly protocol: Protocol;
  readonly roundTrip: RoundTrip;
  readonly method: "Status" | "Decrypt";
  readonly callers: number;
  /** Which of ours is measured. */
  readonly ours: Extract<Kind, "here" | "quiet">;
  /** One caller: the median time of a call. Several: calls per second. */
  readonly figure: "p50" | "perSecond";
  readonly goal: Goal | undefined;
}

function row(protocol: Protocol, roundTrip: RoundTrip, callers: number, goal: Goal | undefined): LoadRow {
  const name = protocol === "kmip" ? "KMIP" : "REST";
  return {
    work: `${name} Decrypt, ${callers} caller${callers === 1 ? "" : "s"}, ${roundTrip} ms`,
    protocol,
    roundTrip,
    method: "Decrypt",
    callers,
    ours: "here",
    figure: callers === 1 && roundTrip === 0 ? "p50" : "perSecond",
    goal,
  };
}

const one = row("kmip", 0, 1, ratio("at most", 1.3));

/** Rows with the same protocol and round trip are measured together, in front of the same processes. */
export const loadRows: readonly LoadRow[] = [
  { ...one, work: "Status, 1 caller", method: "Status", goal: undefined },
  one,
  { ...one, work: `${one.work}, --log-level warn`, ours: "quiet" },
  row("kmip", 0, 16, ratio("at least", 2)),
  row("kmip", 0, 128, ratio("at least", 2.5)),
  row("kmip", 5, 16, undefined),
  row("kmip", 5, 128, undefined),
  row("rest", 0, 1, ratio("at most", 1.3)),
  row("rest", 5, 1, ratio("at least", 1)),
  row("rest", 5, 16, ratio("at least", 1)),
  row("rest", 5, 128, ratio("at least", 1)),
];

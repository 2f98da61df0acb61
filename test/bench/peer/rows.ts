/** What is compared, row by row, and what issue 19 wants of each. */
import type { Kind, Protocol, RoundTrip } from "./processes.ts";

/** Who is measured: the plugin in Go, this one, and the least that Node can need. */
export type Side = "go" | "here" | "floor";
export const sides: readonly Side[] = ["go", "here", "floor"];
/** One figure of each round, for each side. */
export type Figures = Readonly<Record<Side, number[]>>;
/** Figures that are still to be measured. */
export const noFigures = (): Figures => ({ go: [], here: [], floor: [] });

/** A bound on a figure; `of` says whether that is the ratio to Go's, or our own figure. */
export interface Goal {
  readonly kind: "at most" | "at least";
  readonly limit: number;
  readonly of: "ratio" | "figure";
}

/** A line of the table that is printed at the end; without a goal the figure is to be kept. */
export interface Line {
  readonly work: string;
  readonly figures: Figures;
  readonly text: (figure: number) => string;
  readonly goal: Goal | undefined;
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
  /** How many ciphertexts they ask for: one, as kube-apiserver does after its start, or each caller its own. */
  readonly seeds: number;
  /** Which of ours is measured. */
  readonly ours: Extract<Kind, "here" | "quiet">;
  /** One caller: the median time of a call. Several: calls per second. */
  readonly figure: "p50" | "perSecond";
  readonly goal: Goal | undefined;
}

function row(protocol: Protocol, roundTrip: RoundTrip, callers: number, goal?: Goal): LoadRow {
  const who = callers === 1 ? "1 caller" : `${callers} callers, one seed`;
  return {
    work: `${protocol.toUpperCase()} Decrypt, ${roundTrip} ms, ${who}`,
    protocol,
    roundTrip,
    method: "Decrypt",
    callers,
    seeds: 1,
    ours: "here",
    figure: callers === 1 && roundTrip === 0 ? "p50" : "perSecond",
    goal,
  };
}

/** The same with a seed for each caller: no exchange can serve two of them. */
function ownSeeds(one: LoadRow, goal = one.goal): LoadRow {
  return { ...one, work: one.work.replace("one seed", "own seeds"), seeds: one.callers, goal };
}

const oneCaller = row("kmip", 0, 1, ratio("at most", 1.3));
const kmip16 = row("kmip", 0, 16, ratio("at least", 2));
const kmip128 = row("kmip", 0, 128, ratio("at least", 2.5));
const kmipFar16 = row("kmip", 5, 16);
const kmipFar128 = row("kmip", 5, 128);
const restFar16 = row("rest", 5, 16, ratio("at least", 1));
const restFar128 = row("rest", 5, 128, ratio("at least", 1));

/** Rows with the same protocol and round trip are measured together, in front of the same processes. */
export const loadRows: readonly LoadRow[] = [
  { ...oneCaller, work: "Status, 1 caller", method: "Status", goal: undefined },
  oneCaller,
  { ...oneCaller, work: `${oneCaller.work}, --log-level warn`, ours: "quiet" },
  kmip16,
  ownSeeds(kmip16),
  kmip128,
  ownSeeds(kmip128),
  kmipFar16,
  ownSeeds(kmipFar16),
  kmipFar128,
  ownSeeds(kmipFar128),
  row("rest", 0, 1, ratio("at most", 1.3)),
  row("rest", 5, 1, ratio("at least", 1)),
  restFar16,
  ownSeeds(restFar16),
  restFar128,
  ownSeeds(restFar128),
];

/**
 * Section `peer`: the plugin beside one in Go on the original's own libraries, and beside the least that Node can need, in front
 * of one KMS on kmip-go's server, with a grpc-go client. They take turns, so that what the machine does meanwhile befalls all
 * alike; a ratio is the median of each turn's own.
 */
import { availableParallelism, cpus, loadavg } from "node:os";
import { goVersion } from "../../support/go.ts";
import { heading, msText, perSecondText, table } from "../report.ts";
import { memoryLines, startLines } from "./footprint.ts";
import { type MeasuredRow, measureLoads } from "./loads.ts";
import { createWorld } from "./processes.ts";
import { type Figures, type Goal, type Line, type Side, sides } from "./rows.ts";

/** What the command line says. */
export interface PeerOptions {
  /** Shorter and fewer rounds: for a first look. */
  readonly quick: boolean;
  /** Rows whose name this matches; all by default. */
  readonly only: RegExp;
}

/** Five minutes. */
const full = {
  load: { warmUpMs: 150, durationMs: 650 },
  rounds: 5,
  memory: { warmUpMs: 0, durationMs: 1500 },
  restMs: 15_000,
  memoryRounds: 2,
  starts: 9,
};
const short: typeof full = {
  load: { warmUpMs: 200, durationMs: 400 },
  rounds: 2,
  memory: { warmUpMs: 0, durationMs: 1000 },
  restMs: 1000,
  memoryRounds: 1,
  starts: 3,
};

/** Section `peer`. */
export async function benchPeer(folder: string, { quick, only }: PeerOptions): Promise<void> {
  heading("Beside the Go plugin");
  const go = await goVersion();
  if (go === undefined) {
    console.log("skipped: no Go on this machine");
    return;
  }
  const pace = quick ? short : full;
  const [processor] = cpus();
  console.log(
    `${new Date().toISOString().slice(0, 16)}Z, ${availableParallelism()} × ${processor?.model ?? "unknown"}, ` +
      `Node ${process.version}, ${go}, load average ${loadavg()[0]?.toFixed(1)}` +
      `${quick ? "; quick: only a first look" : ""}\n`,
  );
  const world = await createWorld(folder);
  try {
    const loads = await measureLoads(world, pace.load, pace.rounds, only);
    printLines([
      ...loads.map(loadLine),
      ...(await memoryLines(world, pace.memory, pace.memoryRounds, pace.restMs, only)),
      ...(await startLines(world, pace.starts, only)),
    ]);
    printDetails(loads);
  } finally {
    await world.close();
  }
}

/** Of an even number of values the mean of the middle two. */
function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
}

function loadLine({ row, samples }: MeasuredRow): Line {
  const of = (side: Side): number[] => samples[side].map((sample) => sample[row.figure]);
  return {
    work: row.work,
    figures: { go: of("go"), here: of("here"), floor: of("floor") },
    text: row.figure === "p50" ? msText : perSecondText,
    goal: row.goal,
  };
}

function ratioOf({ go, here }: Figures): number {
  return median(here.map((figure, index) => figure / (go[index] ?? Number.NaN)));
}

function goalText(goal: Goal | undefined, ratio: number, figure: number, text: Line["text"]): string {
  if (goal === undefined) return "keep";
  const { kind, limit, of } = goal;
  const value = of === "ratio" ? ratio : figure;
  const reached = kind === "at most" ? value <= limit : value >= limit;
  const bound = of === "ratio" ? `${limit} ×` : text(limit);
  return `${kind === "at most" ? "≤" : "≥"} ${bound} ${reached ? "✔" : "✖"}`;
}

function printLines(lines: readonly Line[]): void {
  const cells = lines.map(({ work, figures, text, goal }) => {
    const ratio = ratioOf(figures);
    const here = median(figures.here);
    const goalCell = goalText(goal, ratio, here, text);
    return [
      work,
      text(median(figures.go)),
      text(here),
      `${ratio.toFixed(2)} ×`,
      goalCell,
      text(median(figures.floor)),
    ];
  });
  table(["work", "Go", "here", "ratio", "to reach", "floor"], cells);
}

/** Percentiles and processor time, and what failed. */
function printDetails(rows: readonly MeasuredRow[]): void {
  if (rows.length === 0) return;
  console.log();
  table(
    ["Go / here / floor", "p50 ms", "p99 ms", "processor µs per call"],
    rows.map(({ row, samples }) => [
      row.work,
      ...(["p50", "p99", "cpuUs"] as const).map((figure) => detail(samples, figure)),
    ]),
  );
  for (const { row, samples } of rows)
    for (const side of sides)
      for (const { failures, firstFailure } of samples[side])
        if (failures > 0) console.log(`✖ ${row.work}, ${side}: ${failures} calls failed: ${firstFailure}`);
}

function detail(samples: MeasuredRow["samples"], figure: "p50" | "p99" | "cpuUs"): string {
  return sides
    .map((side) => median(samples[side].map((sample) => sample[figure])))
    .map((value) => value.toFixed(figure === "cpuUs" ? 0 : 2))
    .join(" / ");
}

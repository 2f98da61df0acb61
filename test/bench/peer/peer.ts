/**
 * Section `peer`: the plugin beside one in Go on the original's own libraries, and beside the least that Node can need, in front
 * of one KMS on kmip-go's server, with a grpc-go client. They take turns, so that what the machine does meanwhile befalls all
 * alike; a ratio is the median of each turn's own.
 */
import { availableParallelism, cpus, loadavg } from "node:os";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { goVersion } from "../../support/go.ts";
import { heading, mib, table, whole } from "../report.ts";
import {
  createWorld,
  type Kind,
  type Protocol,
  type Subject,
  startSubject,
  type World,
} from "./processes.ts";
import { atMost, type Goal, type LoadRow, loadRows } from "./rows.ts";

/** What the command line says. */
export interface PeerOptions {
  /** Shorter and fewer rounds: for a first look. */
  readonly quick: boolean;
  /** Rows whose name this matches; all by default. */
  readonly only: RegExp;
}

/** Rounds do not count the first, which warms everybody up. */
const pace = {
  full: {
    rounds: 5,
    warmUpMs: 200,
    durationMs: 800,
    restMs: 2000,
    memoryRounds: 3,
    memoryMs: 1500,
    starts: 9,
  },
  quick: {
    rounds: 3,
    warmUpMs: 100,
    durationMs: 300,
    restMs: 1000,
    memoryRounds: 1,
    memoryMs: 800,
    starts: 3,
  },
} as const;
type Pace = (typeof pace)["full" | "quick"];

/** What the caller says of one load. */
interface Load {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly failures: number;
  readonly firstFailure?: string;
  readonly calls: number;
  readonly total: number;
}

/** A load, and the processor time of a call in µs. */
type Sample = Load & { readonly cpuUs: number };
type Side = "go" | "here" | "floor";
/** One figure of each round, for each side. */
type Figures = Readonly<Record<Side, readonly number[]>>;
/** A line of the table that is printed at the end. */
interface Line {
  readonly work: string;
  readonly figures: Figures;
  readonly text: (figure: number) => string;
  readonly goal: Goal | undefined;
}

const sides: readonly Side[] = ["go", "here", "floor"];

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2;
}

const msText = (value: number): string => `${value.toFixed(value < 10 ? 2 : 0)} ms`;
const perSecondText = (value: number): string => `${whole(value)}/s`;
const mibText = (value: number): string => `${mib(value)} MiB`;

/** Section `peer`. */
export async function benchPeer(folder: string, { quick, only }: PeerOptions): Promise<void> {
  heading("Beside the Go plugin");
  const go = await goVersion();
  if (go === undefined) {
    console.log("skipped: no Go on this machine");
    return;
  }
  const [processor] = cpus();
  console.log(
    `${new Date().toISOString().slice(0, 16)}Z, ${availableParallelism()} × ${processor?.model ?? "unknown"}, ` +
      `Node ${process.version}, ${go}, load average ${loadavg()[0]?.toFixed(1)}` +
      `${quick ? "; quick: only a first look" : ""}\n`,
  );
  const world = await createWorld(folder);
  try {
    const chosen = pace[quick ? "quick" : "full"];
    const loads = await measureLoads(world, chosen, only);
    const lines = [
      ...loads.map(loadLine),
      ...(await memoryLines(world, chosen, only)),
      ...(await startLines(world, chosen, only)),
    ];
    printLines(lines);
    printDetails(loads);
  } finally {
    await world.close();
  }
}

interface MeasuredRow {
  readonly row: LoadRow;
  readonly samples: Readonly<Record<Side, Sample[]>>;
}

async function measureLoads(world: World, chosen: Pace, only: RegExp): Promise<MeasuredRow[]> {
  const measured = loadRows
    .filter(({ work }) => only.test(work))
    .map((row): MeasuredRow => ({ row, samples: { go: [], here: [], floor: [] } }));
  const groups = Map.groupBy(measured, ({ row }) => `${row.protocol} ${row.roundTrip}`);
  for (const group of groups.values()) await measureGroup(world, chosen, group);
  return measured;
}

/** Measures rows of one protocol and round trip, round after round. */
async function measureGroup(world: World, chosen: Pace, group: readonly MeasuredRow[]): Promise<void> {
  const [first] = group;
  if (first === undefined) return;
  const { protocol, roundTrip } = first.row;
  const kinds = new Set<Kind>(group.flatMap(({ row }) => ["go", row.ours, "floor"] as const));
  const subjects = new Map<Kind, Subject>();
  try {
    for (const kind of kinds) subjects.set(kind, await startSubject(world, kind, protocol, roundTrip));
    for (let round = 0; round <= chosen.rounds; round += 1) {
      for (const { row, samples } of group)
        for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
          const subject = subjects.get(side === "here" ? row.ours : side);
          if (subject === undefined) continue;
          const sample = await load(world, subject, row, chosen);
          if (round > 0) samples[side].push(sample);
        }
      for (const subject of subjects.values()) subject.forgetLog();
    }
  } finally {
    for (const subject of subjects.values()) await subject.stop();
  }
}

async function load(
  { caller }: World,
  subject: Subject,
  { method, callers }: Pick<LoadRow, "method" | "callers">,
  { warmUpMs, durationMs }: { readonly warmUpMs: number; readonly durationMs: number },
): Promise<Sample> {
  const before = subject.cpuMs();
  caller.write({ sock: subject.sock, method, callers, warmUpMs, durationMs });
  const measured = (await caller.next()) as Load;
  if (measured.calls === 0)
    throw new Error(
      `${subject.sock}: no call of ${callers} callers succeeded in time, ${measured.failures} failed: ${measured.firstFailure}`,
    );
  return { ...measured, cpuUs: ((subject.cpuMs() - before) * 1000) / measured.total };
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

const rest = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Resident memory of fresh processes: at rest, and after 16 and then 128 callers. */
async function memoryLines(world: World, chosen: Pace, only: RegExp): Promise<Line[]> {
  const lines: Line[] = [];
  for (const protocol of ["kmip", "rest"] as const) {
    const name = protocol.toUpperCase();
    const atRest = { go: [] as number[], here: [] as number[], floor: [] as number[] };
    const after = { go: [] as number[], here: [] as number[], floor: [] as number[] };
    const both = [
      { work: `memory at rest, ${name}`, figures: atRest, text: mibText, goal: atMost(65 * 2 ** 20) },
      { work: `memory after 16 and 128, ${name}`, figures: after, text: mibText, goal: atMost(95 * 2 ** 20) },
    ].filter(({ work }) => only.test(work));
    if (both.length === 0) continue;
    for (let round = 0; round < chosen.memoryRounds; round += 1)
      for (const side of sides) {
        const measured = await memoryOf(world, side, protocol, chosen);
        atRest[side].push(measured.atRest);
        after[side].push(measured.after);
      }
    lines.push(...both);
  }
  return lines;
}

async function memoryOf(
  world: World,
  side: Side,
  protocol: Protocol,
  { restMs, ...times }: Pace,
): Promise<{ atRest: number; after: number }> {
  const subject = await startSubject(world, side, protocol, 0);
  try {
    await rest(restMs);
    const atRest = subject.residentBytes();
    for (const callers of [16, 128])
      await load(world, subject, { method: "Decrypt", callers }, { ...times, durationMs: times.memoryMs });
    return { atRest, after: subject.residentBytes() };
  } finally {
    await subject.stop();
  }
}

async function startLines(world: World, chosen: Pace, only: RegExp): Promise<Line[]> {
  const listening = { go: [] as number[], here: [] as number[], floor: [] as number[] };
  const version = { go: [] as number[], here: [] as number[], floor: [] as number[] };
  const peak = { go: [] as number[], here: [] as number[], floor: [] as number[] };
  const lines: Line[] = [
    { work: "start to listening", figures: listening, text: msText, goal: atMost(90) },
    { work: "--version", figures: version, text: msText, goal: atMost(60) },
    { work: "--version, peak memory", figures: peak, text: mibText, goal: undefined },
  ].filter(({ work }) => only.test(work));
  if (lines.length === 0) return [];
  const empty = path.join(world.folder, "version.cjs");
  writeFileSync(empty, 'console.log("version");\n');
  const commands: Readonly<Record<Side, readonly string[]>> = {
    go: [...world.commands.go, "--version"],
    here: [...world.commands.here, "--version"],
    floor: [process.execPath, empty],
  };
  for (let round = 0; round <= chosen.starts; round += 1)
    for (const side of sides) {
      const subject = await startSubject(world, side, "kmip", 0);
      await subject.stop();
      const { ms, peakBytes } = await world.run(commands[side]);
      // The first round reads the files for the first time.
      if (round === 0) continue;
      listening[side].push(subject.listeningMs);
      version[side].push(ms);
      peak[side].push(peakBytes);
    }
  return lines;
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
    const [go, here, floor] = sides.map((side) => median(figures[side]));
    return [
      work,
      text(go ?? Number.NaN),
      text(here ?? Number.NaN),
      `${ratio.toFixed(2)} ×`,
      goalText(goal, ratio, here ?? Number.NaN, text),
      text(floor ?? Number.NaN),
    ];
  });
  table(["work", "Go", "here", "ratio", "to reach", "floor"], cells);
}

/** Percentiles and processor time, and what failed. */
function printDetails(rows: readonly MeasuredRow[]): void {
  if (rows.length === 0) return;
  console.log();
  const each = (samples: MeasuredRow["samples"], figure: "p50" | "p99" | "cpuUs"): string =>
    sides
      .map((side) => median(samples[side].map((sample) => sample[figure])))
      .map((value) => value.toFixed(figure === "cpuUs" ? 0 : 2))
      .join(" / ");
  table(
    ["Go / here / floor", "p50 ms", "p99 ms", "processor µs per call"],
    rows.map(({ row, samples }) => [
      row.work,
      each(samples, "p50"),
      each(samples, "p99"),
      each(samples, "cpuUs"),
    ]),
  );
  for (const { row, samples } of rows)
    for (const side of sides)
      for (const { failures, firstFailure } of samples[side])
        if (failures > 0) console.log(`✖ ${row.work}, ${side}: ${failures} calls failed: ${firstFailure}`);
}

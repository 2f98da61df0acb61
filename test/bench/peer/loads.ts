/** Calls without a pause: the sides take turns, round after round. */
import { type Kind, type Subject, startSubject, type World } from "./processes.ts";
import { type LoadRow, loadRows, type Side, sides } from "./rows.ts";

/** Long enough for V8 to have compiled what a call needs, in ms. */
const settleMs = 3000;

/** How long a load is, in ms. */
export interface LoadTimes {
  readonly warmUpMs: number;
  readonly durationMs: number;
}

/** What the caller says of one load; times in ms. */
interface Load {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly failures: number;
  readonly firstFailure?: string;
  readonly calls: number;
  readonly total: number;
}

/** A load, and the plugin's processor time of a call in µs. */
export type Sample = Load & { readonly cpuUs: number };

/** A row with what was measured. */
export interface MeasuredRow {
  readonly row: LoadRow;
  readonly samples: Readonly<Record<Side, Sample[]>>;
}

/** Measures the rows whose name matches. */
export async function measureLoads(
  world: World,
  times: LoadTimes,
  rounds: number,
  only: RegExp,
): Promise<MeasuredRow[]> {
  const measured = loadRows
    .filter(({ work }) => only.test(work))
    .map((row): MeasuredRow => ({ row, samples: { go: [], here: [], floor: [] } }));
  const groups = Map.groupBy(measured, ({ row }) => `${row.protocol} ${row.roundTrip}`);
  for (const group of groups.values()) await measureGroup(world, times, rounds, group);
  return measured;
}

const settling = { method: "Decrypt", callers: 128, seeds: 128 } as const;

async function measureGroup(
  world: World,
  times: LoadTimes,
  rounds: number,
  group: readonly MeasuredRow[],
): Promise<void> {
  const [first] = group;
  if (first === undefined) return;
  const { protocol, roundTrip } = first.row;
  const kinds = new Set<Kind>(group.flatMap(({ row }) => ["go", row.ours, "floor"] as const));
  const subjects = new Map<Kind, Subject>();
  try {
    for (const kind of kinds) {
      const subject = await startSubject(world, kind, protocol, roundTrip);
      subjects.set(kind, subject);
      await load(world, subject, settling, { warmUpMs: 0, durationMs: settleMs });
    }
    for (let round = 0; round < rounds; round += 1) {
      for (const { row, samples } of group)
        for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
          const subject = subjects.get(side === "here" ? row.ours : side);
          if (subject === undefined) continue;
          samples[side].push(await load(world, subject, row, times));
        }
      for (const subject of subjects.values()) subject.forgetLog();
    }
  } finally {
    for (const subject of subjects.values()) await subject.stop();
  }
}

/** One load. @throws where no call was answered in time, or the process has ended */
export async function load(
  { caller }: World,
  subject: Subject,
  { method, callers, seeds }: Pick<LoadRow, "method" | "callers" | "seeds">,
  { warmUpMs, durationMs }: LoadTimes,
): Promise<Sample> {
  const before = subject.cpuMs();
  caller.write({ sock: subject.sock, method, callers, seeds, warmUpMs, durationMs });
  const measured = (await caller.next()) as Load;
  if (measured.calls === 0 || subject.hasEnded())
    throw new Error(
      `${subject.kind}: of ${callers} callers ${measured.calls} calls were answered, ${measured.failures} failed: ` +
        `${measured.firstFailure}\n${subject.logTail()}`,
    );
  return { ...measured, cpuUs: ((subject.cpuMs() - before) * 1000) / measured.total };
}

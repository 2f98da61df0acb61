/** Memory, and how long a start takes. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { mibText, msText } from "../report.ts";
import { load, type LoadTimes } from "./loads.ts";
import { type Protocol, startSubject, type Subject, type World } from "./processes.ts";
import { atMost, type Line, noFigures, type Side, sides } from "./rows.ts";

const mebibyte = 2 ** 20;

/**
 * Resident memory of fresh processes: after a while at rest, and after 16 and then 128 callers.
 * @param restMs V8 gives back what the start took too much of some 8 s after it, and compiles at the probe after 10 s
 * @param only lines whose name matches are measured
 */
export async function memoryLines(
  world: World,
  times: LoadTimes,
  rounds: number,
  restMs: number,
  only: RegExp,
): Promise<Line[]> {
  const lines: Line[] = [];
  for (const protocol of ["kmip", "rest"] as const) {
    const name = protocol.toUpperCase();
    const atRest = noFigures();
    const after = noFigures();
    const both: Line[] = [
      { work: `memory at rest, ${name}`, figures: atRest, text: mibText, goal: atMost(65 * mebibyte) },
      { work: `memory after loads, ${name}`, figures: after, text: mibText, goal: atMost(95 * mebibyte) },
    ].filter(({ work }) => only.test(work));
    if (both.length === 0) continue;
    for (let round = 0; round < rounds; round += 1)
      for (const [side, measured] of await memoryOfAll(world, protocol, times, restMs)) {
        atRest[side].push(measured.atRest);
        after[side].push(measured.after);
      }
    lines.push(...both);
  }
  return lines;
}

interface Memory {
  readonly atRest: number;
  readonly after: number;
}

/** All sides rest at the same time, and then work one after another. */
async function memoryOfAll(
  world: World,
  protocol: Protocol,
  times: LoadTimes,
  restMs: number,
): Promise<Map<Side, Memory>> {
  const subjects: Subject[] = [];
  try {
    for (const side of sides) subjects.push(await startSubject(world, side, protocol, 0));
    await new Promise((resolve) => setTimeout(resolve, restMs));
    const measured = new Map<Side, Memory>();
    for (const [index, side] of sides.entries()) {
      const subject = subjects[index];
      if (subject !== undefined) measured.set(side, await memoryOf(world, subject, times));
    }
    return measured;
  } finally {
    for (const subject of subjects) await subject.stop();
  }
}

async function memoryOf(world: World, subject: Subject, times: LoadTimes): Promise<Memory> {
  const atRest = subject.residentBytes();
  for (const callers of [16, 128])
    await load(world, subject, { method: "Decrypt", callers, seeds: 1 }, times);
  return { atRest, after: subject.residentBytes() };
}

/**
 * From the start to the socket's first connection, and the shortest run there is.
 * @param only lines whose name matches are measured
 */
export async function startLines(world: World, rounds: number, only: RegExp): Promise<Line[]> {
  const listening = noFigures();
  const version = noFigures();
  const peak = noFigures();
  const lines: Line[] = [
    { work: "start to listening", figures: listening, text: msText, goal: atMost(90) },
    { work: "--version", figures: version, text: msText, goal: atMost(60) },
    { work: "--version, peak memory", figures: peak, text: mibText, goal: undefined },
  ].filter(({ work }) => only.test(work));
  if (lines.length === 0) return [];
  const commands = versionCommands(world);
  // The first round reads the files for the first time.
  for (let round = 0; round <= rounds; round += 1)
    for (const side of sides) {
      const subject = await startSubject(world, side, "kmip", 0);
      await subject.stop();
      const { ms, peakBytes } = await world.run(commands[side]);
      if (round === 0) continue;
      listening[side].push(subject.listeningMs);
      version[side].push(ms);
      peak[side].push(peakBytes);
    }
  return lines;
}

/** The floor is a script of one line. */
function versionCommands({ commands, folder }: World): Readonly<Record<Side, readonly string[]>> {
  const script = path.join(folder, "version.cjs");
  writeFileSync(script, 'console.log("version");\n');
  return {
    go: [...commands.go, "--version"],
    here: [...commands.here, "--version"],
    floor: [process.execPath, script],
  };
}

/**
 * One run of chaos before one protocol: a calm, every fault once in an order of chance, then faults at random until
 * the time is over, and a calm again. Local faults happen beside the remote ones. What must not be is collected.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Fault, faultsOf } from "./faults.ts";
import { localFaults } from "./local-faults.ts";
import { clockMs, type FailedCall } from "./messages.ts";
import { createRandom, type Random } from "./random.ts";
import { compareResources, measureResources, type Measured } from "./resources.ts";
import { isOk, isRight, limitOf, ruleText, statusLimitMs, wrongStatus } from "./status-rules.ts";
import { createTimeline, type Timeline } from "./timeline.ts";
import { createWorld, type Protocol, type World } from "./world.ts";

/** A call past its deadline by more than this is wrong, in ms: issue 5 has it so. */
const lateLimitMs = 100;

/** How a run goes. */
export interface ChaosOptions {
  readonly protocol: Protocol;
  readonly seed: number;
  /** Faults begin until then; every fault happens once whatever this says. Default: 0. */
  readonly forMs?: number;
  /** How far past its deadline a call may be answered, in ms. Default: {@link lateLimitMs}. */
  readonly lateLimitMs?: number;
  /** For how long a path must be healthy to be one that a call had, in ms. Default: that of timeline.ts. */
  readonly healthyForMs?: number;
  /** Gets one line for each fault. */
  readonly print: (line: string) => void;
}

/** What came of one kind of fault, over the run. */
export interface FaultSummary {
  readonly name: string;
  readonly status: readonly [says: string, when: string];
  times: number;
  /** Calls that failed in it, those that might included. */
  failed: number;
  slowestMs: number;
  /** Longest time until Status was right: after the beginning, after the end. In ms. */
  statusRightMs: number;
  statusOkMs: number;
}

/** What a run came to. */
export interface ChaosReport {
  readonly protocol: Protocol;
  readonly faults: readonly FaultSummary[];
  readonly encrypts: number;
  readonly decrypts: number;
  readonly statuses: number;
  readonly failed: number;
  readonly left: number;
  /** What was allowed beyond a deadline, in ms. */
  readonly lateLimitMs: number;
  /** Beyond the deadline, the delays of the callers' own process taken off, and as seen. In ms. */
  readonly mostLateMs: number;
  readonly mostLateSeenMs: number;
  readonly resources: readonly [before: Measured, after: Measured];
  /** Everything that must not be; empty where all was well. */
  readonly wrong: readonly string[];
}

/** What a run knows. */
interface Run {
  readonly world: World;
  readonly random: Random;
  readonly timeline: Timeline;
  readonly startedAt: number;
  readonly print: (line: string) => void;
  readonly wrong: string[];
  readonly summaries: Map<string, FaultSummary>;
  /** Failed calls that have been judged. */
  judged: number;
}

/** Does a run. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const wrong: string[] = [];
  const world = await createWorld(options.protocol, (how) => wrong.push(how));
  const run: Run = {
    world,
    random: createRandom(options.seed),
    timeline: createTimeline(
      world.paths.map(({ name }) => name),
      clockMs,
      options.healthyForMs,
    ),
    startedAt: clockMs(),
    print: options.print,
    wrong,
    summaries: new Map(),
    judged: 0,
  };
  let exitCode: number | null;
  let resources: ChaosReport["resources"];
  try {
    resources = await happen(run, options.forMs ?? 0);
  } finally {
    exitCode = await world.close();
  }
  if (exitCode !== 0) wrong.push(`SIGTERM ended the plugin with code ${String(exitCode)}`);
  return conclude(run, resources, options.lateLimitMs ?? lateLimitMs);
}

/** How long to wait for the young generation to have grown before it is measured, and for how long then. */
const calmMs = 2500;

async function happen(run: Run, forMs: number): Promise<ChaosReport["resources"]> {
  const { world, random } = run;
  await sleep(calmMs);
  let before = await measureResources(world.plugin, calmMs);
  const faults = faultsOf(world.protocol);
  const until = run.startedAt + forMs;
  const hasEnded = new AbortController();
  const local = localLane(run, until, hasEnded.signal);
  for (const fault of random.shuffled(faults)) await befall(run, fault);
  // In a long run the first round is warm-up: only from there on must memory stay level.
  if (clockMs() < until) before = await measureResources(world.plugin, calmMs);
  while (clockMs() < until) {
    await sleep(random.between(0, 1500));
    await befall(run, random.pick(faults as [Fault, ...Fault[]]));
  }
  hasEnded.abort();
  await local;
  // What was hung and left has been closed by then.
  await sleep(calmMs);
  const after = await measureResources(world.plugin, calmMs);
  await judgeFailures(run);
  return [before, after];
}

/** Each local fault once, then at random until the remote ones are done. */
async function localLane(run: Run, until: number, hasEnded: AbortSignal): Promise<void> {
  const { world, random } = run;
  const waiting = random.shuffled(localFaults);
  for (;;) {
    const fault = waiting.shift() ?? random.pick(localFaults as [(typeof localFaults)[number]]);
    const { text, wrong } = await fault.run(world);
    const summary = summaryOf(run, fault.name, ["no change", "always"]);
    summary.times += 1;
    if (wrong !== undefined) run.wrong.push(`${fault.name}: ${wrong}`);
    say(run, `${fault.name}: ${text}`, wrong !== undefined);
    if (waiting.length === 0 && (hasEnded.aborted || clockMs() >= until)) return;
    await sleep(random.between(500, 3000), undefined, { signal: hasEnded }).catch(() => undefined);
  }
}

/** Lets one fault happen, and looks at what came of it. */
async function befall(run: Run, fault: Fault): Promise<void> {
  const { world, random, timeline } = run;
  const { callers, plugin } = world;
  const keysBefore = world.keyId;
  const problems = await badProbes(world);
  callers.takeSlowest();

  const path = random.pick(world.paths);
  const broken = { none: [], one: [path.name], both: world.paths.map(({ name }) => name) }[fault.breaks];
  const endDark = timeline.dark(broken);
  const endRefusing = fault.refusals === undefined ? undefined : timeline.refusing(fault.refusals);
  const from = clockMs();
  const end = await fault.begin(world, random, path);
  const keys = { before: keysBefore, now: world.keyId };
  const rule = fault.status;
  let rightMs = 0;
  if (fault.lasts === "until Status says so") {
    const isSeen = await callers.sees((status) => isRight(rule, status, keys), from, limitOf(rule));
    rightMs = clockMs() - from;
    if (!isSeen) run.wrong.push(`${fault.name}: Status did not ${rule.must} within ${limitOf(rule)} ms`);
    await sleep(500);
  } else await sleep(random.between(...fault.lasts));
  const endingAt = clockMs();
  await end();
  endDark();
  const endedAt = clockMs();

  const during = callers.statuses.filter((each) => each.startedAt >= from && each.endedAt <= endingAt);
  const wrong = wrongStatus(rule, during, from, keys);
  if (wrong !== undefined) run.wrong.push(`${fault.name}: ${wrong}`);
  const isOkAgain = await callers.sees((status) => isOk(status, keys.now), endedAt, statusLimitMs);
  const okMs = clockMs() - endedAt;
  if (!isOkAgain) run.wrong.push(`${fault.name}: Status was not ok within ${statusLimitMs} ms of its end`);
  endRefusing?.();
  // Within the grace Status cannot tell whether the probe has seen that all is well; the metrics can.
  const wellAfter = Date.now() / 1000 - okMs / 1000;
  const hasSeen = async (): Promise<boolean> =>
    (await plugin.metric("last_successful_probe_timestamp_seconds")) > wellAfter;
  if ((await badProbes(world)) > problems && !(await plugin.becomes(hasSeen, statusLimitMs)))
    run.wrong.push(
      `${fault.name}: the probe did not find the key well within ${statusLimitMs} ms of its end`,
    );

  const { failed, unexcused } = await judgeFailures(run);
  const { callMs, statusMs } = callers.takeSlowest();
  const summary = summaryOf(run, fault.name, ruleText(rule));
  summary.times += 1;
  summary.failed += failed;
  summary.slowestMs = Math.max(summary.slowestMs, callMs);
  summary.statusRightMs = Math.max(summary.statusRightMs, rightMs);
  summary.statusOkMs = Math.max(summary.statusOkMs, okMs);
  const lasted = `${((endedAt - from) / 1000).toFixed(1)} s`;
  const calls =
    failed === 0
      ? "no call failed"
      : `${failed} calls failed, ${failed - unexcused} of them refused by the KMS or without a healthy path`;
  const status =
    rightMs === 0
      ? "Status ok"
      : `Status right after ${Math.round(rightMs)} ms, ok ${Math.round(okMs)} ms after the end`;
  const slowest = `slowest call ${Math.round(callMs)} ms, Status ${Math.round(statusMs)} ms`;
  const isBad = wrong !== undefined || unexcused > 0 || !isOkAgain;
  say(
    run,
    `${fault.name}, ${lasted}: ${calls}; ${status}${wrong === undefined ? "" : ` (${wrong})`}; ${slowest}`,
    isBad,
  );
}

/** Probes so far that found a failure. */
async function badProbes({ plugin }: World): Promise<number> {
  const counts = ["transient", "permanent"].map((outcome) =>
    plugin.metric("probe_total", `outcome="${outcome}"`),
  );
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}

/** Judges the calls that failed since the last time, once their deadlines are over: only then is all known. */
async function judgeFailures(run: Run): Promise<{ failed: number; unexcused: number }> {
  const { callers } = run.world;
  const fresh = callers.failed.slice(run.judged);
  run.judged += fresh.length;
  const notRefused = fresh.filter((call) => !run.timeline.isRefused(call));
  const last = Math.max(0, ...notRefused.map(({ deadlineAt }) => deadlineAt));
  if (last > clockMs()) await sleep(last - clockMs());
  const unexcused = notRefused.filter((call) => run.timeline.hadPath(call));
  const kinds = new Map<string, FailedCall[]>();
  for (const call of unexcused) kinds.set(call.message, [...(kinds.get(call.message) ?? []), call]);
  for (const [message, calls] of kinds) {
    const [{ startedAt = 0, endedAt = 0, deadlineAt = 0 } = {}] = calls;
    const at = `${Math.round(endedAt - startedAt)} ms after its start, of ${Math.round(deadlineAt - startedAt)} ms`;
    run.wrong.push(
      `${calls.length} calls failed that had a healthy path, as at ${time(run, startedAt)} (${at}): ${message}`,
    );
  }
  return { failed: fresh.length, unexcused: unexcused.length };
}

function summaryOf(run: Run, name: string, status: FaultSummary["status"]): FaultSummary {
  const known = run.summaries.get(name);
  if (known !== undefined) return known;
  const made = { name, status, times: 0, failed: 0, slowestMs: 0, statusRightMs: 0, statusOkMs: 0 };
  run.summaries.set(name, made);
  return made;
}

function time(run: Run, at: number): string {
  return `${((at - run.startedAt) / 1000).toFixed(1)} s`;
}

function say(run: Run, text: string, isBad: boolean): void {
  run.print(`${isBad ? "✖" : "✔"} ${run.world.protocol} ${time(run, clockMs()).padStart(7)}  ${text}`);
}

function conclude(run: Run, resources: ChaosReport["resources"], limitMs: number): ChaosReport {
  const { world, wrong } = run;
  const { callers, plugin } = world;
  const late = callers.late.map(({ overMs, ownMs }) => overMs - ownMs);
  const tooLate = callers.late.filter(({ overMs, ownMs }) => overMs - ownMs > limitMs);
  if (tooLate.length > 0)
    wrong.push(
      `${tooLate.length} calls ended more than ${limitMs} ms past their deadline, by ${Math.round(Math.max(...late))} ms at most`,
    );
  wrong.push(...new Set(callers.wrong));
  // The socket's file is away for up to 2 s when it is removed; whoever left just then has to wait.
  for (const { from, to } of callers.unreachable)
    if (to - from > statusLimitMs / 2)
      wrong.push(`the socket could not be connected to for ${Math.round(to - from)} ms`);
  wrong.push(...new Set(plugin.unexpected.map((line) => `the plugin logged ${line}`)));
  wrong.push(...compareResources(...resources));
  const { encrypts, decrypts, statuses, left } = callers.counts();
  return {
    protocol: world.protocol,
    faults: [...run.summaries.values()],
    encrypts,
    decrypts,
    statuses,
    failed: callers.failed.length,
    left,
    lateLimitMs: limitMs,
    mostLateMs: Math.max(0, ...late),
    mostLateSeenMs: Math.max(0, ...callers.late.map(({ overMs }) => overMs)),
    resources,
    wrong,
  };
}

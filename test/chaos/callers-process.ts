/**
 * The callers, in a process of their own so that what they measure is the plugin: each on its own connection,
 * Encrypt and Decrypt without pause, every plaintext compared; and one that asks for Status all the time, as
 * several API servers would. Tells what it sees by IPC; ends when the other side disconnects.
 */
import { randomBytes, randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { EncryptResponse } from "../../gen/kms/v2/api_pb.ts";
import { CallError, connectCaller, type Caller } from "../support/caller.ts";
import { createKeyIdCheck } from "./key-ids.ts";
import { clockMs, type CallerMessage, type CallersOptions, type StatusSeen } from "./messages.ts";
import { watchOwnDelay } from "./own-delay.ts";

/** A caller that was refused at once does not ask ten thousand times a second. */
const breathMs = 10;
const statusIntervalMs = 40;
const mostKept = 256;
/** A deadline this much exceeded is told; what is too much is judged by who hears of it. */
const toldOverMs = 20;

interface Kept {
  readonly plaintext: Uint8Array;
  readonly wrapped: EncryptResponse;
}

const options = JSON.parse(process.argv[2] ?? "{}") as CallersOptions;
const ownDelay = watchOwnDelay();
const counts = { encrypts: 0, decrypts: 0, statuses: 0, failed: 0, left: 0 };
const kept: Kept[] = [];
let slowestMs = 0;
let slowestStatusMs = 0;
const stopping = new AbortController();

const tell = (message: CallerMessage): void => {
  if (process.connected) process.send?.(message);
};
const keyIds = createKeyIdCheck((what) => tell({ type: "wrong", what }));

/** Connects, and goes on trying; tells for how long it could not. */
async function connect(timeoutMs: number): Promise<Caller | undefined> {
  const from = clockMs();
  let hasFailed = false;
  while (!stopping.signal.aborted) {
    try {
      const caller = await connectCaller(options.sock, timeoutMs);
      if (hasFailed) tell({ type: "unreachable", from, to: clockMs() });
      return caller;
    } catch {
      hasFailed = true;
      await sleep(breathMs);
    }
  }
  return undefined;
}

interface Timed {
  readonly startedAt: number;
  readonly endedAt: number;
}

/** Does a call, and looks at how long it took. */
async function timed<T>(
  method: string,
  timeoutMs: number,
  call: () => Promise<T>,
): Promise<Timed & ({ readonly value: T } | { readonly error: unknown })> {
  const startedAt = clockMs();
  const outcome = await call().then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  const endedAt = clockMs();
  const overMs = endedAt - startedAt - timeoutMs;
  if (overMs > toldOverMs) void tellLate(method, startedAt, startedAt + timeoutMs, endedAt);
  return { startedAt, endedAt, ...outcome };
}

/** The watch over this process's own delays has to have run once more before it can be asked. */
async function tellLate(
  method: string,
  startedAt: number,
  deadlineAt: number,
  endedAt: number,
): Promise<void> {
  await sleep(50);
  // A machine that lets this process wait, which does little, lets the plugin wait too.
  const machineMs = ownDelay.within(deadlineAt - 500, endedAt);
  const ownMs = ownDelay.within(startedAt, startedAt + 50) + ownDelay.within(deadlineAt, endedAt) + machineMs;
  tell({ type: "late", method, overMs: endedAt - deadlineAt, ownMs });
}

async function encryptOne(caller: Caller): Promise<EncryptResponse> {
  const plaintext = randomBytes(32);
  const startedAt = clockMs();
  const wrapped = await caller.encrypt(plaintext);
  keyIds.encrypt({ startedAt, endedAt: clockMs(), keyId: wrapped.keyId });
  if (kept.length < mostKept) kept.push({ plaintext, wrapped });
  else kept[randomInt(mostKept)] = { plaintext, wrapped };
  counts.encrypts += 1;
  return wrapped;
}

async function decryptOne(caller: Caller, { plaintext, wrapped }: Kept): Promise<void> {
  const found = await caller.decrypt(wrapped);
  if (Buffer.compare(found, plaintext) !== 0)
    tell({ type: "wrong", what: "Decrypt gave another plaintext than Encrypt had been given" });
  counts.decrypts += 1;
}

/** Calls until the end; a leaver leaves now and then, and comes back on a new connection. */
async function callWithoutPause(timeoutMs: number, isLeaver: boolean): Promise<void> {
  let caller = await connect(timeoutMs);
  while (!stopping.signal.aborted && caller !== undefined) {
    const present = caller;
    const one = kept[randomInt(Math.max(1, kept.length))];
    const isDecrypt = one !== undefined && randomInt(2) === 0;
    const method = isDecrypt ? "Decrypt" : "Encrypt";
    let hasLeft = false;
    const leave = (): void => {
      hasLeft = true;
      present.leave();
    };
    const leaving = isLeaver && randomInt(10) === 0 ? setTimeout(leave, randomInt(25)) : undefined;
    const outcome = await timed<unknown>(method, timeoutMs, () =>
      isDecrypt ? decryptOne(present, one) : encryptOne(present),
    );
    clearTimeout(leaving);
    if ("value" in outcome) slowestMs = Math.max(slowestMs, outcome.endedAt - outcome.startedAt);
    else if (hasLeft) counts.left += 1;
    else await failed(method, timeoutMs, outcome, outcome.error);
    const isLost = "error" in outcome && codeOf(outcome.error) === undefined;
    if (hasLeft || isLost) {
      present.leave();
      caller = await connect(timeoutMs);
    }
  }
  caller?.leave();
}

async function failed(method: string, timeoutMs: number, at: Timed, error: unknown): Promise<void> {
  counts.failed += 1;
  const { startedAt, endedAt } = at;
  // The watch has to have run once more.
  await sleep(breathMs);
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  const deadlineAt = startedAt + timeoutMs;
  tell({
    type: "failed",
    method,
    startedAt,
    endedAt,
    deadlineAt,
    stalledMs: ownDelay.within(startedAt, endedAt),
    message,
    ...(code === undefined ? {} : { code }),
  });
}

function codeOf(error: unknown): number | undefined {
  return error instanceof CallError ? error.code : undefined;
}

/** To be asked at once: healthz tells the time of day. */
function sinceGood(healthz: string): Pick<StatusSeen, "sinceGoodMs"> {
  const [, date] = /last good probe (\S+)$/.exec(healthz) ?? [];
  return date === undefined ? {} : { sinceGoodMs: Date.now() - Date.parse(date) };
}

async function askForStatus(timeoutMs: number): Promise<void> {
  let caller = await connect(timeoutMs);
  while (!stopping.signal.aborted && caller !== undefined) {
    const present = caller;
    const outcome = await timed("Status", timeoutMs, () => present.status());
    const { startedAt, endedAt } = outcome;
    counts.statuses += 1;
    slowestStatusMs = Math.max(slowestStatusMs, endedAt - startedAt);
    if ("value" in outcome) {
      const { healthz, keyId } = outcome.value;
      keyIds.status({ startedAt, endedAt, keyId });
      const problem = healthz === "ok" ? {} : { healthz, ...sinceGood(healthz) };
      tell({ type: "status", startedAt, endedAt, keyId, ...problem });
    } else {
      const code = codeOf(outcome.error);
      if (code === undefined) {
        await failed("Status", timeoutMs, outcome, outcome.error);
        present.leave();
        caller = await connect(timeoutMs);
      } else tell({ type: "status", startedAt, endedAt, code });
    }
    await sleep(statusIntervalMs);
  }
  caller?.leave();
}

const reporting = setInterval(() => {
  tell({ type: "counts", ...counts, slowestMs, slowestStatusMs });
  slowestMs = 0;
  slowestStatusMs = 0;
}, 250);
process.once("disconnect", () => stopping.abort());

const { timeoutsMs } = options;
const callers = Array.from({ length: options.callers }, (_, index) =>
  callWithoutPause(timeoutsMs[index % timeoutsMs.length] ?? 3000, index < options.leavers),
);
await Promise.all([...callers, askForStatus(3000)]);
clearInterval(reporting);
ownDelay.stop();

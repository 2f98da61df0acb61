/** The other side of callers-process.ts: starts it, and keeps what it tells. */
import { fork } from "node:child_process";
import { EventEmitter, once } from "node:events";
import path from "node:path";
import type {
  CallerMessage,
  CallersOptions,
  Counts,
  FailedCall,
  LateCall,
  StatusSeen,
  Unreachable,
} from "./messages.ts";

/** See above. Lists grow for as long as the run takes; statuses are kept for the last two minutes. */
export interface Callers {
  readonly failed: readonly FailedCall[];
  readonly late: readonly LateCall[];
  readonly unreachable: readonly Unreachable[];
  readonly wrong: readonly string[];
  readonly statuses: readonly StatusSeen[];
  counts(): Counts;
  /** The slowest answer since this was asked last, in ms. */
  takeSlowest(): { readonly callMs: number; readonly statusMs: number };
  /** Resolves to whether a Status that began after `since` was as `wanted`, before `until` (shared clock). */
  sees(wanted: (status: StatusSeen) => boolean, since: number, withinMs: number): Promise<boolean>;
  stop(): Promise<void>;
}

const keptStatuses = 4000;

/** Starts the callers. */
export function startCallers(options: CallersOptions): Callers {
  const child = fork(path.join(import.meta.dirname, "callers-process.ts"), [JSON.stringify(options)]);
  const failed: FailedCall[] = [];
  const late: LateCall[] = [];
  const unreachable: Unreachable[] = [];
  const wrong: string[] = [];
  const statuses: StatusSeen[] = [];
  const events = new EventEmitter().setMaxListeners(0);
  let slowest = { callMs: 0, statusMs: 0 };
  let counts: Counts = {
    type: "counts",
    encrypts: 0,
    decrypts: 0,
    statuses: 0,
    failed: 0,
    left: 0,
    slowestMs: 0,
    slowestStatusMs: 0,
  };
  child.on("message", (told) => {
    const message = told as CallerMessage;
    switch (message.type) {
      case "failed":
        failed.push(message);
        break;
      case "late":
        late.push(message);
        break;
      case "unreachable":
        unreachable.push(message);
        break;
      case "wrong":
        wrong.push(message.what);
        break;
      case "status":
        statuses.push(message);
        if (statuses.length > keptStatuses) statuses.shift();
        events.emit("status", message);
        break;
      case "counts":
        counts = message;
        slowest = {
          callMs: Math.max(slowest.callMs, message.slowestMs),
          statusMs: Math.max(slowest.statusMs, message.slowestStatusMs),
        };
    }
  });
  let isStopping = false;
  child.once("exit", (code) => {
    if (!isStopping) wrong.push(`the callers ended by themselves, with ${String(code)}`);
  });
  return {
    failed,
    late,
    unreachable,
    wrong,
    statuses,
    counts: () => counts,
    takeSlowest() {
      const taken = slowest;
      slowest = { callMs: 0, statusMs: 0 };
      return taken;
    },
    sees(wanted, since, withinMs) {
      return new Promise((resolve) => {
        const look = (status: StatusSeen): void => {
          if (status.startedAt >= since && wanted(status)) done(true);
        };
        const timer = setTimeout(() => done(false), withinMs);
        const done = (found: boolean): void => {
          clearTimeout(timer);
          events.off("status", look);
          resolve(found);
        };
        events.on("status", look);
      });
    },
    async stop() {
      isStopping = true;
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.disconnect();
      await ended;
    },
  };
}

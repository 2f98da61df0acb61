/** What the process of the callers and the one that causes faults say to each other, and the clock they share. */

/** Milliseconds on the machine's monotonic clock, which is the same in every process. */
export const clockMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** What the callers are to do; given as JSON on the command line. */
export interface CallersOptions {
  readonly sock: string;
  readonly callers: number;
  /** Of so many callers each now and then leaves in the middle of a call. */
  readonly leavers: number;
  /** grpc-timeout of the calls; the callers take turns. */
  readonly timeoutsMs: readonly number[];
}

/** A call that did not succeed, other than by the caller's own leaving. Times of {@link clockMs}. */
export interface FailedCall {
  readonly type: "failed";
  readonly method: string;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly deadlineAt: number;
  /** For how long the caller's own process, which does little, did not run meanwhile, in ms. */
  readonly stalledMs: number;
  /** gRPC status; absent where the connection was lost. */
  readonly code?: number;
  readonly message: string;
}

/** What one Status said. */
export interface StatusSeen {
  readonly type: "status";
  readonly startedAt: number;
  readonly endedAt: number;
  /** Absent where it said ok; "" for none. */
  readonly healthz?: string;
  /** How long ago, at its end, the last good probe was that healthz names, in ms. */
  readonly sinceGoodMs?: number;
  readonly keyId?: string;
  /** gRPC status where it failed. */
  readonly code?: number;
}

/** A call answered later than its deadline. */
export interface LateCall {
  readonly type: "late";
  readonly method: string;
  /** Beyond the deadline, as the caller saw it. */
  readonly overMs: number;
  /**
   * What may be taken off: for how long the caller's own process did not run just after the start and past the
   * deadline, and as much again as it stood still from half a second before the deadline on, for the plugin.
   */
  readonly ownMs: number;
}

/** Counted since the start. */
export interface Counts {
  readonly type: "counts";
  readonly encrypts: number;
  readonly decrypts: number;
  readonly statuses: number;
  readonly failed: number;
  /** Calls in whose middle the caller left. */
  readonly left: number;
  /** The longest answer since the last of these messages. */
  readonly slowestMs: number;
  /** The longest answer to Status since the last of these messages. */
  readonly slowestStatusMs: number;
}

/** The socket could not be connected to for a while. */
export interface Unreachable {
  readonly type: "unreachable";
  readonly from: number;
  readonly to: number;
}

/** Something that must never be: another plaintext, a key_id that Status did not say. */
export interface Wrong {
  readonly type: "wrong";
  readonly what: string;
}

/** What the callers tell. */
export type CallerMessage = FailedCall | StatusSeen | LateCall | Counts | Unreachable | Wrong;

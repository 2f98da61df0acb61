/**
 * Brings the pool new connections: as many dials at a time as are wanted and allowed, one at a time with a
 * growing pause while no server answers, and now and then a try at those that are preferred to the one in use, and
 * at those behind it that are down. A caller that stops waiting ends no dial.
 */
import { ProviderError, toProviderError } from "../errors.ts";
import { isHopeless, type Dialled, type Dialer } from "./dialer.ts";

/** What a supply needs to know. Times in ms. */
export interface SupplyOptions {
  readonly dialer: Dialer;
  /** How many connections are wanted now beyond those that are there, dials under way not subtracted. */
  readonly wanted: () => number;
  readonly maxDials: number;
  /** How often a server that is preferred to the one in use, or is down, is tried. */
  readonly recoverMs: number;
  readonly onDialled: (dialled: Dialled) => void;
  /** No server can be used until somebody changes something. */
  readonly onHopeless: (error: ProviderError) => void;
}

/** See above. */
export interface Supply {
  /** Rounds of dialling that are under way for the callers. */
  readonly dialling: number;
  /** Dials where more is wanted. */
  check(): void;
  /** Calls off what is under way and begins anew, with what the dialer has now. */
  restart(): void;
  /** Calls off what is under way and begins nothing more. */
  stop(): void;
}

/** Somebody waits whenever there is a pause: a long one would cost a call that could have been saved. */
const firstPauseMs = 50;
const longestPauseMs = 250;
/** After so many rounds in a row that all failed without hope the callers are told: their deadlines would change nothing. */
const hopelessRounds = 3;

/** Makes a supply; it begins at the first `check`. */
export function createSupply(options: SupplyOptions): Supply {
  const { dialer } = options;
  const rounds = new Set<object>();
  let failedRounds = 0;
  let hopelessInARow = 0;
  let pause: NodeJS.Timeout | undefined;
  let recovery: NodeJS.Timeout | undefined;
  let callOff = new AbortController();
  let isStopped = false;

  const check = (): void => {
    planRecovery();
    if (isStopped || pause !== undefined) return;
    const most = failedRounds > 0 ? 1 : options.maxDials;
    for (let more = Math.min(most, options.wanted()) - rounds.size; more > 0; more -= 1)
      void dialForCallers();
  };

  const dialForCallers = async (): Promise<void> => {
    const { signal } = callOff;
    const round = {};
    rounds.add(round);
    // Of several rounds at a time only the oldest adds to what hangs, and only while somebody waits for it.
    const mayRepeat = (): boolean => options.wanted() > 0 && rounds.values().next().value === round;
    try {
      const dialled = await dialer.dial(signal, mayRepeat);
      rounds.delete(round);
      deliver(dialled, signal);
    } catch (error) {
      rounds.delete(round);
      if (!signal.aborted) onRoundFailed(toProviderError(error));
    }
    check();
  };

  const deliver = (dialled: Dialled, signal: AbortSignal): void => {
    if (signal.aborted) return dialled.connection.destroy(calledOff());
    failedRounds = 0;
    hopelessInARow = 0;
    return options.onDialled(dialled);
  };

  const onRoundFailed = (error: ProviderError): void => {
    failedRounds += 1;
    hopelessInARow = isHopeless(error) ? hopelessInARow + 1 : 0;
    if (hopelessInARow >= hopelessRounds) options.onHopeless(error);
    clearTimeout(pause);
    pause = setTimeout(
      () => {
        pause = undefined;
        check();
      },
      jittered(Math.min(firstPauseMs * 2 ** (failedRounds - 1), longestPauseMs)),
    );
  };

  /** Whatever else is dialled meanwhile: a server that loses its connections all the time must not put it off. */
  const planRecovery = (): void => {
    if (isStopped || recovery !== undefined || !dialer.isRecoveryDue) return;
    recovery = setTimeout(() => void recover(), jittered(options.recoverMs));
    recovery.unref();
  };

  const recover = async (): Promise<void> => {
    const { signal } = callOff;
    try {
      const dialled = await dialer.dialPreferred(signal);
      if (dialled !== undefined) deliver(dialled, signal);
    } catch {
      // The dialer has told why, and the server in use goes on serving.
    }
    await dialer.lookAtStandbys(signal);
    if (signal.aborted) return;
    recovery = undefined;
    check();
  };

  const endAll = (): void => {
    callOff.abort(calledOff());
    clearTimeout(pause);
    clearTimeout(recovery);
    pause = undefined;
    recovery = undefined;
    failedRounds = 0;
    hopelessInARow = 0;
  };

  return {
    get dialling() {
      return rounds.size;
    },
    check,
    restart: () => {
      endAll();
      callOff = new AbortController();
      check();
    },
    stop: () => {
      isStopped = true;
      endAll();
    },
  };
}

/** A quarter more or less, so that several control planes do not knock at the same moment. */
function jittered(ms: number): number {
  return ms * (0.75 + Math.random() / 2);
}

function calledOff(): ProviderError {
  return new ProviderError("CANCELED", "the dial was called off");
}

/**
 * A server that refuses with General Failure (KMIP 1.4 section 9.1.3.2.29) may be out of order, as one whose HSM is away
 * is, or the request may be at fault. Another server knows: the same is asked of it, and where it can do what the
 * one in use could not, it is in use from then on. One appeal at a time, whoever waits for it.
 */
import { linkedSignal } from "../upstream/abort.ts";
import { ProviderError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import type { Dialer } from "./dialer.ts";
import type { Endpoint } from "./endpoint.ts";

/** What appeals need to know. Times in ms. */
export interface AppealOptions {
  readonly dialer: Dialer;
  /** Longest time for one. */
  readonly limitMs: number;
  /** How long none is heard after one that was lost: what every server refuses is not to be asked twice each time. */
  readonly pauseMs: number;
  /** Another server is in use. */
  readonly onOther: () => void;
}

/** Asks the same again, on another connection; throws where it is refused there too. */
export type Test = (connection: Connection, signal: AbortSignal) => Promise<unknown>;

/** See above. */
export interface Appeals {
  /** Whether another server than `refusedBy` is in use by now. Never rejects. */
  hear(refusedBy: Endpoint, test: Test): Promise<boolean>;
  /** Ends what is under way; resolves when its socket is closed. */
  close(): Promise<void>;
}

/** Makes appeals, of which none is under way. */
export function createAppeals({ dialer, limitMs, pauseMs, onOther }: AppealOptions): Appeals {
  const callOff = new AbortController();
  let underWay: Promise<boolean> | undefined;
  let lostAt = -Infinity;

  /** Gives the server that can do it; undefined where none can. */
  const findOther = async (test: Test): Promise<Endpoint | undefined> => {
    const limit = linkedSignal(callOff.signal, limitMs);
    try {
      const { connection } = await dialer.dialOthers(limit.signal);
      try {
        await test(connection, limit.signal);
        return connection.endpoint;
      } finally {
        connection.destroy(new ProviderError("CLOSED", "it was only to be asked once"));
        await connection.closed;
      }
    } catch {
      return undefined;
    } finally {
      limit.end();
    }
  };

  const hearOne: Appeals["hear"] = async (refusedBy, test) => {
    const other = await findOther(test);
    if (other === undefined) lostAt = performance.now();
    else if (dialer.inUse === refusedBy)
      dialer.prefer(other, `${refusedBy.name} refuses with General Failure what ${other.name} can do`);
    const isOtherInUse = dialer.inUse !== refusedBy;
    if (isOtherInUse) onOther();
    return isOtherInUse;
  };

  return {
    hear: async (refusedBy, test) => {
      if (dialer.inUse !== refusedBy) return true;
      if (underWay === undefined && performance.now() - lostAt < pauseMs) return false;
      underWay ??= hearOne(refusedBy, test).finally(() => {
        underWay = undefined;
      });
      return underWay;
    },
    close: async () => {
      callOff.abort(new ProviderError("SHUTTING_DOWN", "the program is ending"));
      await underWay;
    },
  };
}

/**
 * Which server a new connection goes to: the one in use, and where it does not answer at once the next, side
 * by side, the first to be ready winning. Holds what a dial needs (secure context, TLS sessions) and what
 * was last seen of each server. How many connections there are is pool.ts's affair.
 */
import type { SecureContext } from "node:tls";
import { linkedSignal } from "../upstream/abort.ts";
import {
  type CertificateSuspicion,
  type ErrorCode,
  NetworkError,
  ProviderError,
  TimeoutError,
  toProviderError,
} from "../errors.ts";
import { secureContextOf, type TlsMaterial } from "../net/tls.ts";
import { openConnection, type Connection } from "./connection.ts";
import type { Endpoint } from "./endpoint.ts";
import type { EndpointEvent } from "./events.ts";
import { type Attempt, firstReady, type RaceOptions } from "./race.ts";
import { createStandings, longestDialMs } from "./standings.ts";

/** What a dialer needs to know. Times in ms. */
export interface DialerOptions {
  /** In order of preference, at least one. */
  readonly endpoints: readonly Endpoint[];
  /** Makes a fresh connection fit for requests, before anybody gets it; says what was agreed, as `KMIP 1.4`. */
  readonly prepare: (connection: Connection, signal: AbortSignal) => Promise<string>;
  readonly maxMessageBytes: number;
  /** Longest time for one attempt at one server. */
  readonly attemptMs: number;
  /** Head start of a server over the next one, where its dials are quick. */
  readonly staggerMs: number;
  /** How often a preferred server is tried again. */
  readonly recoverMs: number;
  /** After how long attempts that hang are joined by another at the same server, again and again. */
  readonly repeatMs: number;
  readonly onEndpoint: (event: EndpointEvent) => void;
  /** Told each attempt that failed of itself. */
  readonly onFailure: (endpoint: Endpoint, error: ProviderError, durationMs: number) => void;
}

/** A connection that is ready for requests. */
export interface Dialled {
  readonly connection: Connection;
  /** What was agreed, as `TLSv1.3, KMIP 1.4`. */
  readonly agreed: string;
  readonly durationMs: number;
}

/** Makes connections. */
export interface Dialer {
  /**
   * The server in use: the one that a dial reached last, of dials at the same time the first to be ready. The most
   * preferred at first.
   */
  readonly inUse: Endpoint;
  /** Whether a server that is preferred to the one in use is to be returned to, or another is down. */
  readonly isRecoveryDue: boolean;
  /** What a caller waits for while no connection is there, as `connecting to kms:5696 (DNS gives no answer)`. */
  readonly waitingFor: string;
  /** Why the last attempt at each server failed, as one error; undefined once one has succeeded. */
  readonly lastFailure: ProviderError | undefined;
  /** Later dials use this material; what is under way is not touched. @throws TLS_FILES where it is unusable. */
  setTlsMaterial(material: TlsMaterial): void;
  /** A request was answered. */
  answered(endpoint: Endpoint): void;
  /** When one last was, in ms of `performance.now()`; -Infinity: never. */
  answeredAt(endpoint: Endpoint): number;
  /**
   * A request on a connection that was opened at `openedAt` was lost, or its reply is overdue. Where nobody has been
   * answered since, other servers are tried first from here on.
   */
  doubt(endpoint: Endpoint, openedAt: number, why: string): void;
  /**
   * Tries every server, the one in use first and those in doubt last, until one is ready.
   * @param mayRepeat asked while every attempt hangs: whether one more may join them.
   * @throws the failure where there is one server; CONNECT, or TLS where all failed with TLS, for several.
   */
  dial(signal: AbortSignal, mayRepeat: () => boolean): Promise<Dialled>;
  /**
   * Tries only the servers that are preferred to the one in use, once; undefined where none is to be tried by now.
   * One that takes very long would be left again at the next dial. @throws as `dial`.
   */
  dialPreferred(signal: AbortSignal): Promise<Dialled | undefined>;
  /**
   * Tries those behind the one in use that were found to be down, once, to tell whether they are: nobody else would
   * before they are needed. Never rejects.
   */
  lookAtStandbys(signal: AbortSignal): Promise<void>;
  /** Tries the servers other than the one in use, which stays it, once. @throws as `dial`; CONNECT where there is none. */
  dialOthers(signal: AbortSignal): Promise<Dialled>;
  /** This server is in use from here on: it can do what the one in use can't, which is in doubt for that reason. */
  prefer(endpoint: Endpoint, why: string): void;
  /** Resolves when the sockets of every attempt that lost or was called off are closed. */
  settled(): Promise<void>;
}

const hopelessCodes: ReadonlySet<ErrorCode> = new Set(["KMIP_RESULT", "KMIP_VERSION", "TLS", "TLS_FILES"]);

/** Whether a dial that failed so fails again in a moment: somebody has to change something first. */
export function isHopeless(error: ProviderError): boolean {
  return hopelessCodes.has(error.code);
}

/** Makes a dialer; nothing is dialled yet. */
export function createDialer(options: DialerOptions): Dialer {
  const { endpoints } = options;
  const standings = createStandings(options.staggerMs, options.recoverMs);
  const isUp = new Map<Endpoint, boolean>();
  let secureContext: SecureContext | undefined;
  let sessions = new Map<Endpoint, Buffer>();
  const running = new Set<Promise<unknown>>();
  let inUse = firstOf(endpoints);
  const lastFailures = new Map<Endpoint, ProviderError>();
  const turns = new Map<Endpoint, Turn>(endpoints.map((endpoint) => [endpoint, newTurn()]));

  const report = (endpoint: Endpoint, up: boolean, message: string, becomesInUse = false): void => {
    const wasInUse = inUse;
    if (becomesInUse) inUse = endpoint;
    if (isUp.get(endpoint) === up && wasInUse === inUse) return;
    isUp.set(endpoint, up);
    options.onEndpoint({
      type: "endpoint",
      endpoint: endpoint.name,
      up,
      inUse: endpoint === inUse,
      message,
    });
  };

  /** Those behind the one in use that are down. */
  const standbys = (): Endpoint[] =>
    endpoints.slice(endpoints.indexOf(inUse) + 1).filter((endpoint) => isUp.get(endpoint) === false);

  const connectAndPrepare = async (
    endpoint: Endpoint,
    signal: AbortSignal,
    nthAddress: number,
    onStage: (waitsFor: () => string) => void,
  ): Promise<Dialled> => {
    if (secureContext === undefined)
      throw new ProviderError("TLS_FILES", "no client certificate has been loaded yet");
    const started = performance.now();
    const known = sessions;
    const connection = await openConnection({
      endpoint,
      secureContext,
      signal,
      nthAddress,
      maxMessageBytes: options.maxMessageBytes,
      onDial: onStage,
      session: known.get(endpoint),
      onSession: (session) => known.set(endpoint, session),
    });
    onStage(() => "no reply to the first KMIP message");
    try {
      const prepared = await options.prepare(connection, signal);
      // Lost with its first reply, it is of no use; as if it were ready it would be dialled again without a pause.
      if (!connection.isOpen) throw await connection.closed;
      const agreed = `${connection.agreed}, ${prepared}`;
      return { connection, agreed, durationMs: performance.now() - started };
    } catch (error) {
      const failure = toProviderError(error);
      connection.destroy(failure);
      await connection.closed;
      throw failure;
    }
  };

  /** One attempt, bounded in time; tells its outcome unless it was called off. */
  const attempt = async (
    endpoint: Endpoint,
    calledOff: AbortSignal,
    limitMs: number,
    failures?: Map<Endpoint, ProviderError>,
  ): Promise<Dialled> => {
    const started = performance.now();
    const limit = linkedSignal(calledOff, limitMs);
    const turn = turns.get(endpoint) ?? newTurn();
    let waitsFor = unknownStage;
    // One address after the other, the next already while the first may hang.
    const nthAddress = turn.nth + turn.dials;
    turn.dials += 1;
    try {
      const dialled = await connectAndPrepare(endpoint, limit.signal, nthAddress, (stage) => {
        waitsFor = stage;
        turn.waitsFor = stage;
      });
      turn.nth = nthAddress;
      return dialled;
    } catch (error) {
      const failure = timedOut(toProviderError(error), endpoint, waitsFor());
      if (!calledOff.aborted) {
        turn.nth = Math.max(turn.nth, nthAddress + 1);
        sessions.delete(endpoint);
        standings.failed(endpoint);
        failures?.set(endpoint, failure);
        options.onFailure(endpoint, failure, performance.now() - started);
        report(endpoint, false, failure.message);
      }
      throw failure;
    } finally {
      turn.dials -= 1;
      limit.end();
    }
  };

  const tryForCallers: Attempt<Dialled> = (endpoint, calledOff) =>
    attempt(endpoint, calledOff, options.attemptMs, lastFailures);

  /** The same; its failures are not kept: they are no reason why a caller had to wait. */
  const tryForNobody: Attempt<Dialled> = (endpoint, calledOff) =>
    attempt(endpoint, calledOff, options.attemptMs);

  /** Why this one becomes the one in use. Of a server that failed it has been told how. */
  const whyOther = (endpoint: Endpoint): string => {
    if (endpoints.indexOf(endpoint) < endpoints.indexOf(inUse)) return `preferred to ${inUse.name}`;
    const isTold = isUp.get(inUse) === false;
    return `in place of ${inUse.name}${isTold ? "" : ", which was not ready in time"}`;
  };

  const race = async (
    order: readonly Endpoint[],
    signal: AbortSignal,
    tryOne: Attempt<Dialled>,
    /** Where a connection to the server in use was ready after this, that one stays in use. */
    startedAt: number,
    mayRepeat: () => boolean,
  ): Promise<Dialled> => {
    const raceOptions: RaceOptions<Dialled> = {
      headStartMs: standings.headStartMs,
      repeatMs: options.repeatMs,
      mayRepeat,
      discard: ({ connection }) => connection.destroy(calledOffError()),
      isFinal: isHopeless,
      summary: (failures) => summaryOf(order, failures),
    };
    const won = await firstReady(order, tracked(running, tryOne), raceOptions, signal);
    lastFailures.clear();
    const { endpoint } = won.connection;
    // Of two races at a time the one that ends last knows no better: each undoing the other would go on for ever.
    const isSettled = standings.isReadySince(inUse, startedAt);
    const why = isSettled || endpoint === inUse ? "" : `, ${whyOther(endpoint)}`;
    standings.ready(endpoint, performance.now() - won.durationMs);
    report(endpoint, true, `${won.agreed}${why}`, !isSettled);
    return won;
  };

  return {
    get inUse() {
      return inUse;
    },
    get isRecoveryDue() {
      return endpoints.length > 1 && (inUse !== endpoints[0] || standbys().length > 0);
    },
    get waitingFor() {
      const turn = turns.get(inUse);
      const hangs = turn !== undefined && turn.dials > 0 ? ` (${turn.waitsFor()})` : "";
      return `connecting to ${inUse.name}${hangs}`;
    },
    get lastFailure() {
      return lastFailures.size === 0
        ? undefined
        : summaryOf([...lastFailures.keys()], [...lastFailures.values()]);
    },
    setTlsMaterial(material) {
      secureContext = secureContextOf(material);
      sessions = new Map();
      standings.forgetDials();
      lastFailures.clear();
    },
    answered: (endpoint) => {
      if (standings.answered(endpoint)) report(endpoint, true, `${endpoint.name} answers`);
    },
    answeredAt: standings.answeredAt,
    doubt: (endpoint, openedAt, why) => {
      // With a single server whoever asks is told, and there is nothing to be chosen.
      if (standings.doubt(endpoint, openedAt) && endpoints.length > 1) report(endpoint, false, why);
    },
    dial: (signal, mayRepeat) => {
      const order = standings.inOrder([inUse, ...endpoints.filter((other) => other !== inUse)]);
      return race(order, signal, tryForCallers, performance.now(), mayRepeat);
    },
    dialPreferred: async (signal) => {
      const preferred = endpoints.slice(0, endpoints.indexOf(inUse));
      const order = preferred.filter((endpoint) => !standings.isResting(endpoint));
      if (order.length === 0) return undefined;
      const limitMs = Math.min(options.attemptMs, longestDialMs);
      // Its failures are not kept: they are no reason why a caller of the server in use had to wait.
      const tryOne: Attempt<Dialled> = (endpoint, calledOff) => attempt(endpoint, calledOff, limitMs);
      return race(order, signal, tryOne, Infinity, () => false);
    },
    lookAtStandbys: async (signal) => {
      for (const endpoint of standbys()) {
        const dialled = await tracked(running, tryForNobody)(endpoint, signal).catch(() => undefined);
        if (dialled === undefined) continue;
        report(endpoint, true, dialled.agreed);
        dialled.connection.destroy(new ProviderError("CLOSED", "it was only to be looked at"));
        await dialled.connection.closed;
      }
    },
    dialOthers: async (signal) => {
      const others = standings.inOrder(endpoints.filter((endpoint) => endpoint !== inUse));
      if (others.length === 0) throw new ProviderError("CONNECT", "there is no other server");
      return race(others, signal, tryForNobody, -Infinity, () => false);
    },
    prefer: (endpoint, why) => {
      standings.doubt(inUse, Infinity);
      report(inUse, false, why);
      report(endpoint, true, `${endpoint.name} answers`, true);
    },
    settled: async () => {
      await Promise.allSettled(running);
    },
  };
}

/** Of a server's name. */
interface Turn {
  /** The address that served last, or that comes after those that failed. */
  nth: number;
  /** Under way. */
  dials: number;
  /** What the newest of them hangs at. */
  waitsFor: () => string;
}

const unknownStage = (): string => "no KMIP connection in time";

function newTurn(): Turn {
  return { nth: 0, dials: 0, waitsFor: unknownStage };
}

/** Keeps what is under way in `running`. */
function tracked(running: Set<Promise<unknown>>, attempt: Attempt<Dialled>): Attempt<Dialled> {
  return async (endpoint, calledOff) => {
    const promise = attempt(endpoint, calledOff);
    running.add(promise);
    try {
      return await promise;
    } finally {
      running.delete(promise);
    }
  };
}

/** One error for a round in which nobody answered. */
function summaryOf(order: readonly Endpoint[], failures: readonly ProviderError[]): ProviderError {
  const [first] = failures;
  // All of one kind say more than a summary would: a client that every server denies is denied, not out of reach.
  const isAnswer = first !== undefined && first.code !== "TLS" && isHopeless(first);
  if (isAnswer && failures.every(({ code }) => code === first.code)) return first;
  if (order.length === 1 && first !== undefined) return first;
  const each = [...new Set(failures.map((failure) => failure.message))].join("; ");
  const message = `no server answers: ${each}`;
  if (failures.every(({ code }) => code === "TIMEOUT"))
    return new TimeoutError("connect", message, { cause: first });
  return new NetworkError(failures.every(isHopeless) ? "TLS" : "CONNECT", message, {
    endpoint: namesOf(order),
    sent: false,
    clientCertificate: failures.map(suspicionOf).find((suspicion) => suspicion !== undefined),
    cause: first,
  });
}

function suspicionOf(failure: ProviderError): CertificateSuspicion | undefined {
  return failure instanceof NetworkError ? failure.clientCertificate : undefined;
}

/** An attempt has a time of its own: no caller's was over. */
function timedOut(error: ProviderError, endpoint: Endpoint, waitedFor: string): ProviderError {
  if (error.code !== "TIMEOUT") return error;
  const message = `${endpoint.name} does not answer (${waitedFor})`;
  return new TimeoutError("connect", message, { cause: error });
}

function calledOffError(): ProviderError {
  return new ProviderError("CANCELED", "another connection was ready first");
}

function namesOf(endpoints: readonly Endpoint[]): string {
  return endpoints.map((endpoint) => endpoint.name).join(", ");
}

function firstOf(endpoints: readonly Endpoint[]): Endpoint {
  const [first] = endpoints;
  if (first === undefined) throw new ProviderError("CONFIG", "at least one KMIP server must be given");
  return first;
}

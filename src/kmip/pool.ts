/**
 * Lends connections, each to one caller at a time: opened as needed up to a maximum, kept warm, first come
 * first served. Never sees a message. A connection retires (finishes what it carries, then closes) when the TLS
 * material it was made with, or the server it leads to, is not the one in use any more.
 */
import { abortError } from "../upstream/abort.ts";
import { ProviderError } from "../errors.ts";
import type { TlsMaterial } from "../net/tls.ts";
import { type Appeals, createAppeals } from "./appeals.ts";
import type { Connection } from "./connection.ts";
import { createDialer, type Dialled } from "./dialer.ts";
import type { Endpoint } from "./endpoint.ts";
import type { ConnectionEvent, EndpointEvent, PoolCounts } from "./events.ts";
import { createSupply } from "./supply.ts";
import { createWaiters } from "./waiters.ts";

/** How a pool is made. Times in ms. */
export interface PoolOptions {
  /** In order of preference, at least one. */
  readonly endpoints: readonly Endpoint[];
  /** Makes a fresh connection fit for requests; says what was agreed, as `KMIP 1.4`. */
  readonly prepare: (connection: Connection, signal: AbortSignal) => Promise<string>;
  readonly maxMessageBytes: number;
  /** Most connections that take requests. Default 8. */
  readonly maxConnections?: number | undefined;
  /** Most connections that are dialled at a time. Default 2. */
  readonly maxDials?: number | undefined;
  /** After this long without a request a connection is closed, unless it is the last. Default 5 min. */
  readonly idleMs?: number | undefined;
  /** Longest time for one attempt to connect. Default 4 s. */
  readonly attemptMs?: number | undefined;
  /** Head start of a server over the next one in the list, more where its dials take longer. Default 300 ms. */
  readonly staggerMs?: number | undefined;
  /** After how long attempts that hang are joined by another, again and again. Default 300 ms. */
  readonly repeatMs?: number | undefined;
  /**
   * How often a server that is preferred to the one in use is tried again, in doubling steps up to twelve times as
   * long where it answers dials and no requests. Default 5 s.
   */
  readonly recoverMs?: number | undefined;
  readonly onEvent?: ((event: ConnectionEvent | EndpointEvent) => void) | undefined;
}

/** A connection, lent. */
export interface Lease {
  readonly connection: Connection;
  /**
   * Gives it back, whatever state it is in. To be called once.
   * @param isAnswered whether a reply came on it. Default: true.
   */
  release(isAnswered?: boolean): void;
  /** For how long its server has answered nobody, since this was lent at the most. */
  silentMs(): number;
  /**
   * It was lost, or its reply is overdue: it no longer counts, and another may be opened in its place, until it is
   * given back after all. What stopped one may have stopped them all: idle connections to the same server are closed
   * but those that were answered on after this was lent, and these too where nobody has been answered lately.
   * @param why for log and metrics, where it speaks of the server.
   * @returns whether it may be kept meanwhile: not where as many as there may be connections are kept so already.
   */
  doubt(why: string): boolean;
  /** Closes it; does nothing after `release`. */
  giveUp(reason: ProviderError): void;
}

/** A pool of connections. */
export interface Pool {
  /**
   * Lends a connection, opening one where none is free and there may be more. While no server answers it goes on
   * trying until `signal` ends.
   * @throws when `signal` ends, what the last dial failed with; where none has failed TIMEOUT (checkout or connect);
   *   CANCELED. TLS, TLS_FILES, KMIP_VERSION, KMIP_RESULT early where no server can be used; SHUTTING_DOWN.
   */
  checkOut(signal: AbortSignal): Promise<Lease>;
  /** See {@link Appeals.hear}. */
  appeal: Appeals["hear"];
  /** Retires every connection; later ones are made with `material`. @throws TLS_FILES where it is unusable. */
  setTlsMaterial(material: TlsMaterial): void;
  counts(): PoolCounts;
  /** Ends everything; resolves when every socket is closed. Idempotent. */
  close(): Promise<void>;
}

/** After this long without any answer no connection is known to be good. */
const silenceMs = 100;

/** Moments in ms of `performance.now()`. */
interface Member {
  readonly connection: Connection;
  readonly openedAt: number;
  isLent: boolean;
  /** Takes no further request, and is closed once it is not lent any more. */
  isRetired: boolean;
  idleSince: number;
}

/** Makes a pool. It opens nothing before the first `checkOut`. */
export function createPool(options: PoolOptions): Pool {
  const { maxConnections = 8, idleMs = 300_000 } = options;
  /** Those that take requests. */
  const members = new Set<Member>();
  /** Those of them that are not lent; the one used last is at the end. */
  const idle: Member[] = [];
  /** All that are open, the doubted and the retired ones too. */
  const open = new Set<Member>();
  const waiters = createWaiters<Lease>();
  let hasMaterial = false;
  let ended: ProviderError | undefined;

  const { attemptMs = 4000, recoverMs = 5000 } = options;
  const dialer = createDialer({
    endpoints: options.endpoints,
    prepare: options.prepare,
    maxMessageBytes: options.maxMessageBytes,
    attemptMs,
    staggerMs: options.staggerMs ?? 300,
    repeatMs: options.repeatMs ?? 300,
    recoverMs,
    onEndpoint: (event) => options.onEvent?.(event),
    onFailure: (endpoint, error, durationMs) => tell("failed", endpoint, error.message, durationMs),
  });
  const supply = createSupply({
    dialer,
    wanted: () => (hasMaterial ? Math.min(waiters.size, maxConnections - members.size) : 0),
    maxDials: options.maxDials ?? 2,
    recoverMs,
    onDialled: (dialled) => {
      retireOthers();
      const member = join(dialled);
      if (isOther(member)) retire(member, whyOther());
    },
    // Where connections are left they serve whoever waits: a server may refuse only what is beyond its limit.
    onHopeless: (error) => {
      if (members.size === 0) waiters.rejectAll(error);
    },
  });
  const appeals = createAppeals({
    dialer,
    limitMs: attemptMs,
    pauseMs: recoverMs,
    onOther: () => {
      retireOthers();
      supply.check();
    },
  });

  const counts = (): PoolCounts => ({
    idle: idle.length,
    busy: members.size - idle.length,
    connecting: supply.dialling,
  });
  const tell = (
    change: ConnectionEvent["change"],
    endpoint: Endpoint,
    message: string,
    durationMs?: number,
  ): void => {
    const event = { type: "connection", change, endpoint: endpoint.name, counts: counts(), message } as const;
    options.onEvent?.(durationMs === undefined ? event : { ...event, durationMs });
  };

  const join = ({ connection, agreed, durationMs }: Dialled): Member => {
    const openedAt = performance.now();
    const member: Member = { connection, openedAt, isLent: false, isRetired: false, idleSince: openedAt };
    open.add(member);
    void untilClosed(member);
    putBack(member);
    tell("opened", connection.endpoint, agreed, durationMs);
    return member;
  };
  const untilClosed = async (member: Member): Promise<void> => {
    const { connection } = member;
    const reason = await connection.closed;
    open.delete(member);
    leave(member);
    tell("closed", connection.endpoint, reason.message);
    supply.check();
  };
  const leave = (member: Member): void => {
    members.delete(member);
    const index = idle.indexOf(member);
    if (index !== -1) idle.splice(index, 1);
  };
  const retire = (member: Member, why: string): void => {
    member.isRetired = true;
    leave(member);
    if (!member.isLent) member.connection.destroy(closedHere(member.connection.endpoint, why));
  };
  const retireAll = (which: (member: Member) => boolean, why: string): void => {
    for (const member of [...open].filter(which)) retire(member, why);
  };

  const isOther = ({ connection }: Member): boolean => connection.endpoint !== dialer.inUse;
  const whyOther = (): string => `${dialer.inUse.name} is in use in its place`;
  const retireOthers = (): void => retireAll(isOther, whyOther());

  const putBack = (member: Member): void => {
    member.isLent = false;
    if (member.isRetired) return retire(member, "it was only to finish what it carried");
    if (!member.connection.isOpen) return leave(member);
    // A new one, or one whose reply was overdue and came after all; any other is there already.
    members.add(member);
    if (members.size > maxConnections) return retire(member, "others have taken its place");
    const give = waiters.next();
    if (give !== undefined) return give(lend(member));
    member.idleSince = performance.now();
    idle.push(member);
    return undefined;
  };
  const lend = (member: Member): Lease => {
    member.isLent = true;
    const { connection, openedAt } = member;
    const { endpoint } = connection;
    const lentAt = performance.now();
    let isReleased = false;
    const silentMs = (): number => performance.now() - Math.max(lentAt, dialer.answeredAt(endpoint));
    return {
      connection,
      release: (isAnswered = true) => {
        isReleased = true;
        if (isAnswered && connection.isOpen) dialer.answered(endpoint);
        putBack(member);
        supply.check();
      },
      silentMs,
      doubt: (why) => {
        leave(member);
        dialer.doubt(endpoint, openedAt, why);
        const provenSince = silentMs() < silenceMs ? lentAt : Infinity;
        retireAll(
          (other) => !other.isLent && other.connection.endpoint === endpoint && other.idleSince < provenSince,
          "another reply of the same server was overdue",
        );
        supply.check();
        return open.size - members.size <= maxConnections;
      },
      giveUp: (reason) => {
        if (!isReleased) connection.destroy(reason);
      },
    };
  };
  const takeIdle = (): Member | undefined => {
    for (let member = idle.pop(); member !== undefined; member = idle.pop()) {
      if (member.connection.isOpen) return member;
      leave(member);
    }
    return undefined;
  };
  const whyLeft = (signal: AbortSignal): ProviderError => {
    if (members.size > 0)
      return abortError(signal, "checkout", `all ${members.size} connections were in use`);
    const { lastFailure, waitingFor, inUse } = dialer;
    if (lastFailure === undefined) return abortError(signal, "connect", waitingFor);
    return abortError(signal, "connect", `connecting to ${inUse.name}`, lastFailure);
  };

  const sweep = setInterval(
    () => {
      const oldest = performance.now() - idleMs;
      for (const member of idle.filter(({ idleSince }) => idleSince <= oldest))
        if (members.size > 1) retire(member, "it was not needed");
    },
    Math.max(Math.min(idleMs / 5, 30_000), 10),
  );
  sweep.unref();

  return {
    counts,
    checkOut: async (signal) => {
      if (ended !== undefined) throw ended;
      if (!hasMaterial) throw new ProviderError("TLS_FILES", "no client certificate has been loaded yet");
      if (signal.aborted) throw abortError(signal, "checkout", "waiting for a connection");
      const member = takeIdle();
      if (member !== undefined) return lend(member);
      const turn = waiters.wait(signal, () => whyLeft(signal));
      supply.check();
      return turn;
    },
    appeal: appeals.hear,
    setTlsMaterial: (material) => {
      dialer.setTlsMaterial(material);
      hasMaterial = true;
      retireAll(() => true, "the certificates were replaced");
      supply.restart();
    },
    close: async () => {
      const reason = (ended ??= new ProviderError("SHUTTING_DOWN", "the program is ending"));
      clearInterval(sweep);
      supply.stop();
      waiters.rejectAll(reason);
      for (const { connection } of open) connection.destroy(reason);
      await Promise.all([
        appeals.close(),
        dialer.settled(),
        ...[...open].map(({ connection }) => connection.closed),
      ]);
    },
  };
}

function closedHere(endpoint: Endpoint, why: string): ProviderError {
  return new ProviderError("CLOSED", `the connection to ${endpoint.name} was closed here: ${why}`, {
    retryable: true,
  });
}

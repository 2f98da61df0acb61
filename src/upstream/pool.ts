/**
 * The connections to one endpoint: opened as needed up to a maximum of all that are open in whatever state, kept warm, lent to
 * one request or to several at a time. Requests that find none wait in a queue, first come first served. One pause for all
 * follows a dial that failed and a connection that was lost before its first reply. Never sees a message.
 */
import { ProviderError, TimeoutError, toProviderError } from "../errors.ts";
import { backoffMs, dialBackoff, jittered } from "./backoff.ts";
import type { Connection } from "./connection.ts";

/** How a pool is made. Times in ms. */
export interface PoolOptions<C extends Connection> {
  /** `host:port`, for messages. */
  readonly name: string;
  /** Opens one connection. */
  readonly dial: (options: { readonly signal: AbortSignal; readonly isNew: boolean }) => Promise<C>;
  /** Most connections that are open or being opened. */
  readonly maxConnections: number;
  /** Most dials at a time that have not begun to hang. */
  readonly maxDials: number;
  /** Most requests on the wire at a time. */
  readonly window: () => number;
  /** After this long without a request a connection is closed, unless it is the last. */
  readonly idleMs: number;
  /** After this long, a quarter more or less, a connection is closed as soon as it is idle. */
  readonly maxAgeMs: number;
  /** While every dial hangs and a request waits, one more dial is begun after so long, again and again. */
  readonly repeatMs: number;
  readonly onOpened: (connection: C, durationMs: number) => void;
  readonly onClosed: (reason: ProviderError) => void;
  /** Whether the server closes each connection after one reply. */
  readonly isSingleUse: () => boolean;
  /** The server closed a connection after exactly one reply, or after more. */
  readonly onUsed: (replies: number) => void;
}

/** Which connection a request can use. */
export interface Wanted {
  /** Opened, or answered on, since then; 0: any. */
  readonly since: number;
  /** Opened since then, by a full TLS handshake. */
  readonly isNew: boolean;
}

/** Any connection will do. */
export const anyConnection: Wanted = { since: 0, isNew: false };

/** `ready` takes requests; `doubted` owes a reply that is overdue; `draining` finishes what it carries, then closes. */
type MemberState = "ready" | "doubted" | "draining";

/** A connection of the pool. Moments in ms of `performance.now()`. */
export interface Member<C> {
  readonly connection: C;
  readonly openedAt: number;
  readonly expiresAt: number;
  lastReplyAt: number;
  lastUsedAt: number;
  replies: number;
  inUse: number;
  state: MemberState;
  /** Whether its requests count as being on the wire: not those that a doubted connection may have lost. */
  isCounted: boolean;
}

/** A place on a connection, for one request. */
export interface Lease<C> {
  readonly member: Member<C>;
  readonly connection: C;
  /** To be called once. @param isAnswered whether a whole reply came */
  release(isAnswered: boolean): void;
}

/** A request that waits for a connection. */
export interface Waiter<C> {
  readonly wanted: Wanted;
  readonly onLease: (lease: Lease<C>) => void;
  readonly onFailure: (failure: ProviderError) => void;
  /** Where its dial hangs, no other is begun for it. Default: false. */
  readonly isPatient?: boolean;
}

interface Dial {
  readonly startedAt: number;
  readonly callOff: AbortController;
}

/** A dial that has taken so long makes room for another. */
const hungMs = 1_000;
/** A connection that is lost so soon, without any reply, counts as a dial that failed. */
const youngMs = 5_000;

/** See above. */
export class Pool<C extends Connection> {
  /** When a whole reply last came on any connection. */
  lastReplyAt = 0;
  /** How many requests are on the wire; those that a doubted connection may have lost do not count. */
  onWire = 0;
  /** Why the last dial failed; undefined once one has succeeded. */
  lastFailure: ProviderError | undefined;
  /** What the last successful dial took, in ms; 0: none since the last failure. */
  dialMs = 0;
  readonly #options: PoolOptions<C>;
  readonly #members = new Set<Member<C>>();
  readonly #waiters = new Set<Waiter<C>>();
  readonly #dials = new Map<Dial, Promise<void>>();

  #capacity = 1;
  /** Dials that failed, and connections that were lost young, since the last reply. */
  #failures = 0;
  #pause: NodeJS.Timeout | undefined;
  #repeat: NodeJS.Timeout | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #ended: ProviderError | undefined;

  constructor(options: PoolOptions<C>) {
    this.#options = options;
  }

  /** Whether a connection is open that takes requests, now or once it has answered. */
  get isConnected(): boolean {
    for (const { state, connection } of this.#members)
      if (state !== "draining" && connection.isOpen) return true;
    return false;
  }

  /** Whether no more connections may be opened. */
  get isFull(): boolean {
    return this.#members.size >= this.#options.maxConnections;
  }

  get isWindowFull(): boolean {
    return this.onWire >= this.#options.window();
  }

  counts(): { idle: number; busy: number; connecting: number } {
    let busy = 0;
    let connecting = 0;
    for (const { inUse } of this.#members) if (inUse > 0) busy += 1;
    for (const { callOff } of this.#dials.keys()) if (!callOff.signal.aborted) connecting += 1;
    return { idle: this.#members.size - busy, busy, connecting };
  }

  /** Lends a connection that is there; undefined where none can be used now. */
  tryAcquire(wanted: Wanted): Lease<C> | undefined {
    if (this.isWindowFull || this.#waiters.size > 0) return undefined;
    const member = this.#pick(wanted);
    return member === undefined ? undefined : this.#lend(member);
  }

  /** Waits for a connection; call the result to stop waiting. */
  wait(waiter: Waiter<C>): () => void {
    if (this.#ended !== undefined) {
      waiter.onFailure(this.#ended);
      return () => undefined;
    }
    this.#waiters.add(waiter);
    this.#serve();
    this.#check();
    return () => this.#waiters.delete(waiter);
  }

  /** The connection takes no new request; it closes when what it carries has ended. */
  retire(member: Member<C>, why: string): void {
    member.state = "draining";
    this.#settle(member, why);
    this.#check();
  }

  /**
   * A reply on the connection is overdue: it takes no request until that has come. Idle connections from before are closed
   * too where no older connection has been answered on since the request was sent at `sentAt`.
   */
  doubt(member: Member<C>, sentAt: number): void {
    if (member.state === "ready") member.state = "doubted";
    if (member.isCounted) this.onWire -= member.inUse;
    member.isCounted = false;
    const isProven = [...this.#members].some((one) => one.openedAt < sentAt && one.lastReplyAt >= sentAt);
    if (!isProven)
      for (const one of this.#members)
        if (one.inUse === 0 && one.openedAt < sentAt)
          this.#close(one, "another reply of this server is overdue");
    this.#check();
  }

  /** Retires every connection, and begins anew. */
  drain(why: string): void {
    for (const member of this.#members) this.retire(member, why);
    for (const { callOff } of this.#dials.keys()) callOff.abort(calledOff());
    this.#failures = 0;
    this.lastFailure = undefined;
    this.dialMs = 0;
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#check();
  }

  /** Ends everything with `reason`; resolves when every socket is closed. */
  async close(reason: ProviderError): Promise<void> {
    this.#ended ??= reason;
    for (const timer of [this.#pause, this.#repeat, this.#sweep]) clearTimeout(timer);
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const { onFailure } of waiters) onFailure(reason);
    for (const { callOff } of this.#dials.keys()) callOff.abort(reason);
    const members = [...this.#members];
    for (const { connection } of members) connection.destroy(reason);
    await Promise.all([...this.#dials.values(), ...members.map(({ connection }) => connection.closed)]);
  }

  /** Of idle connections the one used last; else the one with the fewest requests. */
  #pick({ since, isNew }: Wanted): Member<C> | undefined {
    let best: Member<C> | undefined;
    for (const member of this.#members) {
      const { connection, openedAt, lastReplyAt, inUse } = member;
      if (member.state !== "ready" || inUse >= this.#capacityOf(connection) || !connection.isOpen) continue;
      if (openedAt < since && (isNew || lastReplyAt < since)) continue;
      if (isNew && connection.isResumed) continue;
      if (
        best === undefined ||
        inUse < best.inUse ||
        (inUse === best.inUse && member.lastUsedAt > best.lastUsedAt)
      )
        best = member;
    }
    return best;
  }

  /** What a server that ends each connection with its first reply gets beside another request would be lost. */
  #capacityOf({ capacity }: C): number {
    return this.#options.isSingleUse() ? 1 : capacity;
  }

  #lend(member: Member<C>): Lease<C> {
    member.inUse += 1;
    member.lastUsedAt = performance.now();
    this.onWire += 1;
    return {
      member,
      connection: member.connection,
      release: (isAnswered) => {
        member.inUse -= 1;
        if (member.isCounted) this.onWire -= 1;
        if (isAnswered) this.#answered(member);
        this.#settle(member, "it has finished what it carried");
        if (this.#waiters.size > 0) {
          this.#serve();
          this.#check();
        }
      },
    };
  }

  #answered(member: Member<C>): void {
    const now = performance.now();
    member.replies += 1;
    member.lastReplyAt = now;
    this.lastReplyAt = now;
    this.#failures = 0;
    if (member.state === "doubted") member.state = "ready";
    if (!member.isCounted) this.onWire += member.inUse;
    member.isCounted = true;
    if (this.#options.isSingleUse()) member.state = "draining";
  }

  /** Closes a connection that is not to be kept. */
  #settle(member: Member<C>, why: string): void {
    if (!member.connection.isOpen) return;
    const isExpired = member.expiresAt < performance.now();
    // One that always carries something would never be idle: it takes no more requests.
    if (isExpired) member.state = "draining";
    if (member.inUse === 0 && member.state === "draining")
      this.#close(member, isExpired ? "it has reached its maximum age" : why);
  }

  #close({ connection }: Member<C>, why: string): void {
    connection.destroy(
      new ProviderError("CLOSED", `the connection to ${this.#options.name} was closed here: ${why}`),
    );
  }

  /** Gives connections to those who wait, in their order. */
  #serve(): void {
    for (const waiter of this.#waiters) {
      if (this.isWindowFull) return;
      const member = this.#pick(waiter.wanted);
      if (member === undefined && waiter.wanted.since === 0) return;
      if (member === undefined) continue;
      this.#waiters.delete(waiter);
      waiter.onLease(this.#lend(member));
    }
  }

  /** Opens connections where requests wait that nothing else will serve. */
  #check(): void {
    if (this.#ended !== undefined || this.#pause !== undefined || this.isWindowFull) return;
    // After failures one connection has to answer before another is opened beside it.
    if (this.#failures > 0 && [...this.#members].some(isOnTrial)) return;
    const most = this.#failures > 0 ? 1 : this.#options.maxDials;
    const wanted = Math.min(
      most,
      Math.ceil(this.#waiters.size / (this.#options.isSingleUse() ? 1 : this.#capacity)),
    );
    while (this.#dials.size < wanted && this.#hasRoom()) this.#dial();
  }

  /** Whether one more connection may be opened; where not, one that is of less use is closed. */
  #hasRoom(): boolean {
    if (this.#members.size + this.#dials.size < this.#options.maxConnections) return true;
    const members = [...this.#members];
    const isClosing = members.some(({ connection }) => !connection.isOpen);
    if (isClosing) return false;
    const unused = members.filter(({ inUse }) => inUse === 0);
    const overdue = members.filter(({ state }) => state !== "ready");
    const [oldest] = (unused.length > 0 ? unused : overdue).toSorted((a, b) => a.lastUsedAt - b.lastUsedAt);
    if (oldest === undefined) return false;
    if (oldest.inUse === 0) this.#close(oldest, "another connection is opened in its place");
    else oldest.connection.destroy(new TimeoutError("response", `${this.#options.name} gave no reply`));
    return false;
  }

  #dial(): void {
    const dial = { startedAt: performance.now(), callOff: new AbortController() };
    this.#dials.set(dial, this.#open(dial));
    this.#repeat ??= setTimeout(() => this.#repeatDial(), this.#options.repeatMs);
  }

  async #open(dial: Dial): Promise<void> {
    const [first] = this.#waiters;
    try {
      const isNew = first?.wanted.isNew === true;
      const connection = await this.#options.dial({ signal: dial.callOff.signal, isNew });
      this.#dials.delete(dial);
      this.#onOpened(connection, dial);
    } catch (error) {
      this.#dials.delete(dial);
      if (!dial.callOff.signal.aborted) this.#onDialFailed(toProviderError(error));
    }
    if (this.#dials.size === 0) {
      clearTimeout(this.#repeat);
      this.#repeat = undefined;
    }
    this.#check();
  }

  #onOpened(connection: C, { startedAt, callOff }: Dial): void {
    if (callOff.signal.aborted) return connection.destroy(calledOff());
    const openedAt = performance.now();
    this.dialMs = openedAt - startedAt;
    this.lastFailure = undefined;
    this.#capacity = connection.capacity;
    const member: Member<C> = {
      connection,
      openedAt,
      expiresAt: openedAt + jittered(this.#options.maxAgeMs),
      lastReplyAt: 0,
      lastUsedAt: openedAt,
      replies: 0,
      inUse: 0,
      state: "ready",
      isCounted: true,
    };
    this.#members.add(member);
    void connection.closed.then((reason) => this.#onClosed(member, reason));
    this.#planSweep();
    // Dials that hang since before this one would hang on.
    for (const [other] of this.#dials.entries())
      if (other.startedAt + this.#options.repeatMs <= openedAt) other.callOff.abort(calledOff());
    this.#options.onOpened(connection, this.dialMs);
    this.#serve();
  }

  #onClosed(member: Member<C>, reason: ProviderError): void {
    this.#members.delete(member);
    this.#options.onClosed(reason);
    const isByPeer = member.state === "ready";
    if (isByPeer && member.replies === 0 && performance.now() - member.openedAt < youngMs) this.#startPause();
    if (isByPeer && member.replies > 0) this.#options.onUsed(member.replies);
    this.#check();
  }

  #onDialFailed(failure: ProviderError): void {
    this.lastFailure = failure;
    this.dialMs = 0;
    this.#startPause();
    // Where connections are left they serve those who wait: a server may refuse only what is beyond its limit.
    if (this.isConnected) return;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const { onFailure } of waiters) onFailure(failure);
  }

  #startPause(): void {
    this.#failures += 1;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(
      () => {
        this.#pause = undefined;
        this.#check();
      },
      backoffMs(this.#failures, dialBackoff),
    );
  }

  /** What a server has swallowed it does not answer when it has recovered: a new dial is joined to those that hang. */
  #repeatDial(): void {
    this.#repeat = undefined;
    if (this.#dials.size === 0 || this.#ended !== undefined) return;
    const isUrgent = [...this.#waiters].some(({ isPatient }) => isPatient !== true);
    if (isUrgent && this.#pause === undefined && this.#hasRoom()) this.#dial();
    if (isUrgent) this.#makeRoomForDial();
    this.#repeat ??= setTimeout(() => this.#repeatDial(), this.#options.repeatMs);
  }

  /** Where dials that hang take every place the next one gets that of the second; the first keeps its time: it may only be slow. */
  #makeRoomForDial(): void {
    if (this.#members.size + this.#dials.size < this.#options.maxConnections) return;
    const [, second] = [...this.#dials.keys()].filter(({ callOff }) => !callOff.signal.aborted);
    if (second !== undefined && performance.now() - second.startedAt > hungMs)
      second.callOff.abort(calledOff());
  }

  #planSweep(): void {
    const { idleMs, maxAgeMs } = this.#options;
    const everyMs = Math.min(Math.max(Math.min(idleMs, maxAgeMs) / 5, 10), 30_000);
    this.#sweep ??= setTimeout(() => {
      this.#sweep = undefined;
      const now = performance.now();
      let open = this.#members.size;
      for (const member of this.#members) {
        if (member.inUse > 0 || !member.connection.isOpen) continue;
        const isIdle = member.lastUsedAt <= now - idleMs && open > 1;
        if (isIdle) this.#close(member, "it was not needed");
        else if (member.expiresAt <= now) this.#close(member, "it has reached its maximum age");
        else continue;
        open -= 1;
      }
      if (this.#members.size > 0) this.#planSweep();
    }, everyMs).unref();
  }
}

/** Whether a connection carries its first requests, and nothing speaks against it yet; or it was lost, which a pause follows. */
function isOnTrial({ connection, state, replies, inUse }: Member<Connection>): boolean {
  return state === "ready" && replies === 0 && (inUse > 0 || !connection.isOpen);
}

function calledOff(): ProviderError {
  return new ProviderError("CANCELED", "the dial was called off");
}

/**
 * Admission: which calls are served, and which clients give way when slots are short. A call holds a slot from its
 * headers until its last byte is written, since each takes memory; a call to the KMS holds one of --max-inflight slots
 * as well while it runs. A client, that is a session, is proven once it has read a good answer, and stays so for
 * some minutes. Clients that are not proven give way to those that are.
 */
import type { Http2Session, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import { constants } from "node:http2";
import type { Socket } from "node:net";
import { ProviderError } from "../../errors.ts";
import type { Method } from "./methods.ts";

/** Most calls that live as long as their caller wants: Health's Watch, and reflection. */
const maxStreams = 64;
/** Slots that only Status may take: under a flood of other calls the API server must not take the key for lost. */
const statusSlots = 256;
/** So many calls of a session may wait for their client, however short slots are. */
const fairShare = 16;
/** With so many open calls a proven client takes turns with those that are not. */
const floodCalls = 64;
/**
 * Proven clients only get the last KMS slots, this part of all; an equal share of it is kept for each of them. None of them
 * gets more than an equal share of all slots.
 */
const reservedPart = 1 / 4;
/** How long a good answer proves a client, in ms: kube-apiserver asks for Status each minute. */
const provenMs = 5 * 60_000;

/** How an {@link Admission} is made. */
export interface AdmissionOptions {
  /** Most open calls, apart from the slots of Status. */
  readonly maxOpen: number;
  /** Most calls to the KMS at once. */
  readonly maxInflight: number;
  /** A KMS slot was taken (1) or given back (-1). */
  readonly onInflight: (delta: 1 | -1) => void;
  /** A session was closed, or a call of it reset, to make room for others. */
  readonly onDisplaced: () => void;
}

/** What one session has open, and whether it is proven. */
interface Client {
  readonly session: ServerHttp2Session;
  /** A session that Node destroys waits for its client to close the connection. */
  readonly connection: Socket;
  /** `performance.now()` of the last good answer that it read. */
  servedAt: number | undefined;
  readonly slots: Set<CallSlot>;
  /** How many of them wait for the client. */
  waiting: number;
  /** How many hold a KMS slot. */
  inflight: number;
}

/** See the head of this file. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #clients = new Map<Http2Session, Client>();
  #open = 0;
  #streams = 0;
  #inflight = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Calls to the KMS that run now. */
  get inflight(): number {
    return this.#inflight;
  }

  /** Sessions that are open. */
  get sessions(): number {
    return this.#clients.size;
  }

  /** Registers a session and its connection until it closes. */
  addSession(session: ServerHttp2Session, connection: Socket): void {
    const counts = { waiting: 0, inflight: 0 };
    this.#clients.set(session, { session, connection, servedAt: undefined, slots: new Set(), ...counts });
    session.once("close", () => this.#clients.delete(session));
  }

  /** Whether a call of `stream` begins before those that take turns: its client is proven, and has no flood of calls open. */
  isFirst(stream: ServerHttp2Stream): boolean {
    const client = this.#clientOf(stream);
    return client !== undefined && isProven(client) && client.slots.size < floodCalls;
  }

  /** Whether a client has read a good answer lately, and waits for none. */
  isDone(session: Http2Session): boolean {
    const client = this.#clients.get(session);
    return client !== undefined && isProven(client) && client.slots.size === 0;
  }

  /** Takes a slot for the call of `stream`; undefined where there is none. */
  admit(method: Method, stream: ServerHttp2Stream): CallSlot | undefined {
    const client = this.#clientOf(stream);
    if (client === undefined || !this.#hasRoom(method, client)) return undefined;
    this.#open += 1;
    if (method.isStream) this.#streams += 1;
    return new CallSlot(client, stream, {
      addInflight: (delta) => this.#addInflight(client, delta),
      onEnd: () => {
        this.#open -= 1;
        if (method.isStream) this.#streams -= 1;
      },
    });
  }

  /** Closes the session that is of least use. @returns false where each is proven */
  closeLeastUseful(): boolean {
    const least = leastUseful(this.#clients.values());
    if (least !== undefined) this.#close(least);
    return least !== undefined;
  }

  /** How many calls are open, in words, for the log. */
  describe(): string {
    return `${this.#open} calls are open, ${this.#streams} of them streams`;
  }

  #clientOf({ session }: ServerHttp2Stream): Client | undefined {
    return session === undefined ? undefined : this.#clients.get(session);
  }

  #hasRoom(method: Method, client: Client): boolean {
    if (method.isStream && this.#streams >= maxStreams) return false;
    const isStatus = method.isKms && method.name === "Status";
    const slots = isStatus ? this.#options.maxOpen + statusSlots : this.#options.maxOpen;
    while (this.#open >= slots) {
      const worst = mostWaiting(this.#clients.values());
      if (worst === undefined || worst === client) return false;
      const isPreferred =
        (isStatus || isProven(client)) && !isProven(worst) && worst.waiting > client.waiting;
      if (worst.waiting <= fairShare && !isPreferred) return false;
      this.#displace(worst);
    }
    return true;
  }

  /** Makes room: a session that is not proven is closed; of a proven one the newest call that waits is reset. */
  #displace(client: Client): void {
    if (isProven(client)) [...client.slots].findLast((slot) => slot.isWaiting)?.reset();
    else this.#close(client);
    this.#options.onDisplaced();
  }

  #close(client: Client): void {
    this.#clients.delete(client.session);
    for (const slot of client.slots) slot.end(false);
    client.connection.destroy();
  }

  #addInflight(client: Client, delta: 1 | -1): void {
    if (delta === 1 && !this.#hasKmsSlot(client)) {
      const { maxInflight } = this.#options;
      throw new ProviderError("OVERLOADED", `${this.#inflight} of ${maxInflight} calls to the KMS at once`);
    }
    client.inflight += delta;
    this.#inflight += delta;
    this.#options.onInflight(delta);
  }

  #hasKmsSlot(client: Client): boolean {
    const { maxInflight } = this.#options;
    const reserved = maxInflight * reservedPart;
    const free = maxInflight - this.#inflight;
    if (free > reserved && client.inflight < fairShare) return true;
    if (!isProven(client)) return free > reserved;
    const proven = [...this.#clients.values()].filter((one) => isProven(one));
    if (free <= 0 || client.inflight >= maxInflight / proven.length) return false;
    const kept = reserved / proven.length;
    if (client.inflight < kept) return true;
    const others = proven.reduce((sum, { inflight }) => sum + Math.max(0, kept - inflight), 0);
    return free > others;
  }
}

/** What a slot reports to the admission. */
interface SlotOwner {
  /** @throws OVERLOADED where a KMS slot is asked for and there is none */
  readonly addInflight: (delta: 1 | -1) => void;
  readonly onEnd: () => void;
}

/** The slot of one call, held from its making until `end`. */
export class CallSlot {
  readonly #client: Client;
  readonly #stream: ServerHttp2Stream;
  readonly #owner: SlotOwner;
  #isWaiting = true;

  constructor(client: Client, stream: ServerHttp2Stream, owner: SlotOwner) {
    this.#client = client;
    this.#stream = stream;
    this.#owner = owner;
    client.slots.add(this);
    client.waiting += 1;
  }

  /** Whether the call waits for its own client: to send the rest of its request, or to read. It does at first. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** Notes whether the call waits for its own client. */
  setWaiting(isWaiting: boolean): void {
    if (isWaiting === this.#isWaiting || !this.#client.slots.has(this)) return;
    this.#isWaiting = isWaiting;
    this.#client.waiting += isWaiting ? 1 : -1;
  }

  /** Takes a KMS slot. @throws OVERLOADED where there is none for this client */
  enterKms(): void {
    this.#owner.addInflight(1);
  }

  /** Gives the KMS slot back. */
  leaveKms(): void {
    this.#owner.addInflight(-1);
  }

  /** Gives the slot back. Idempotent. @param isServed a good answer was read to its end */
  end(isServed: boolean): void {
    this.setWaiting(false);
    if (isServed) this.#client.servedAt = performance.now();
    if (this.#client.slots.delete(this)) this.#owner.onEnd();
  }

  /** Gives the slot back and resets the stream. */
  reset(): void {
    this.end(false);
    this.#stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }
}

function isProven({ servedAt }: Client): boolean {
  return servedAt !== undefined && performance.now() - servedAt < provenMs;
}

/**
 * The one with most calls that wait for it: of those with more than a fair share, not proven before proven; then of the
 * others that are not proven.
 */
function mostWaiting(clients: Iterable<Client>): Client | undefined {
  let worst: Client | undefined;
  let worstRank = 0;
  for (const client of clients) {
    if (client.waiting === 0) continue;
    const rank = displacementRank(client);
    if (rank < worstRank || (rank === worstRank && client.waiting < (worst?.waiting ?? 0))) continue;
    worst = client;
    worstRank = rank;
  }
  return worst;
}

/** 3: gives way first; 0: only where all others do nothing but wait, too. */
function displacementRank(client: Client): 0 | 1 | 2 | 3 {
  if (client.waiting > fairShare) return isProven(client) ? 2 : 3;
  return isProven(client) ? 0 : 1;
}

/**
 * Of the clients that are not proven the first that does nothing but wait, or the first. They are in the order of their
 * arrival: each has the time of as many others as there may be connections.
 */
function leastUseful(clients: Iterable<Client>): Client | undefined {
  let busy: Client | undefined;
  for (const client of clients) {
    if (isProven(client)) continue;
    if (client.slots.size === client.waiting) return client;
    busy ??= client;
  }
  return busy;
}

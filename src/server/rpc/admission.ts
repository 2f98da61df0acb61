/**
 * Admission: which calls are served, and which clients give way when slots are short. A call holds a slot from its
 * headers until its last byte is written, since each takes memory; a call to the KMS holds one of --max-inflight slots
 * as well while it runs. A client, that is a session, is proven once it has read a good answer, and stays so for
 * some minutes. Clients that are not proven give way to those that are.
 */
import type { DescMethod } from "@bufbuild/protobuf";
import type { Http2Session, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import { constants } from "node:http2";
import type { Socket } from "node:net";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { ProviderError } from "../../errors.ts";

/** Most calls that live as long as their caller wants: Health's Watch, and reflection. */
const maxStreams = 64;
/** Slots that only Status may take: under a flood of other calls the API server must not take the key for lost. */
const statusSlots = 256;
/** So many calls of a session may wait for their client, however short slots are. */
const fairShare = 16;
/** Proven clients only get the last KMS slots, this part of all, and each at most an equal share of all. */
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

/** The slot of one call. */
export interface CallSlot {
  /** Whether the call waits for its own client: to send the rest of its request, or to read. It does at first. */
  setWaiting(isWaiting: boolean): void;
  /** Takes a KMS slot. @throws OVERLOADED where there is none for this client */
  enterKms(): void;
  leaveKms(): void;
  /** Gives the slot back. `isServed`: a good answer was read to its end. Idempotent. */
  end(isServed: boolean): void;
}

/** See the head of this file. */
export interface Admission {
  /** Registers a session and its connection until it closes. */
  addSession(session: ServerHttp2Session, connection: Socket): void;
  /** Takes a slot for the call of `stream`; undefined where there is none. */
  admit(method: DescMethod, stream: ServerHttp2Stream): CallSlot | undefined;
  /** Sessions that are open. */
  sessions(): number;
  /** Closes the session that is of least use. @returns false where each is proven */
  closeLeastUseful(): boolean;
  /** Calls to the KMS that run now. */
  inflight(): number;
  /** How many calls are open, in words, for the log. */
  describe(): string;
}

/** What one session has open, and whether it is proven. */
interface Client {
  readonly session: ServerHttp2Session;
  /** A session that Node destroys waits for its client to close the connection. */
  readonly connection: Socket;
  /** `performance.now()` of the last good answer that it read. */
  servedAt: number | undefined;
  readonly slots: Set<Slot>;
  /** How many of them wait for the client. */
  waiting: number;
  /** How many hold a KMS slot. */
  inflight: number;
}

interface Slot extends CallSlot {
  readonly isWaiting: boolean;
  readonly stream: ServerHttp2Stream;
}

/** Makes an admission without any session. */
export function createAdmission(options: AdmissionOptions): Admission {
  const { maxOpen, maxInflight } = options;
  const clients = new Map<Http2Session, Client>();
  const count = { open: 0, streams: 0, inflight: 0 };

  function hasRoom(method: DescMethod, client: Client): boolean {
    if (method.methodKind !== "unary" && count.streams >= maxStreams) return false;
    const isStatus = method.parent === KeyManagementService && method.name === "Status";
    const slots = isStatus ? maxOpen + statusSlots : maxOpen;
    while (count.open >= slots) {
      const worst = mostWaiting(clients.values());
      if (worst === undefined || worst === client) return false;
      const isPreferred =
        (isStatus || isProven(client)) && !isProven(worst) && worst.waiting > client.waiting;
      if (worst.waiting <= fairShare && !isPreferred) return false;
      displace(worst);
    }
    return true;
  }

  /** Makes room: a session that is not proven is closed; of a proven one the newest call that waits is reset. */
  function displace(client: Client): void {
    if (isProven(client)) {
      const newest = [...client.slots].findLast((slot) => slot.isWaiting);
      newest?.end(false);
      newest?.stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    } else {
      close(client);
    }
    options.onDisplaced();
  }

  function close(client: Client): void {
    clients.delete(client.session);
    for (const slot of client.slots) slot.end(false);
    client.connection.destroy();
  }

  function hasKmsSlot(client: Client): boolean {
    const free = maxInflight - count.inflight;
    if (free > maxInflight * reservedPart) return true;
    if (free <= 0 || !isProven(client)) return false;
    const sharers = [...clients.values()].filter((one) => isProven(one)).length;
    return client.inflight < maxInflight / sharers;
  }

  function addInflight(client: Client, delta: 1 | -1): void {
    client.inflight += delta;
    count.inflight += delta;
    options.onInflight(delta);
  }

  function createSlot(client: Client, stream: ServerHttp2Stream, isStream: boolean): Slot {
    let isWaiting = true;
    const setWaiting = (waits: boolean): void => {
      if (waits === isWaiting || !client.slots.has(slot)) return;
      isWaiting = waits;
      client.waiting += waits ? 1 : -1;
    };
    const slot: Slot = {
      stream,
      get isWaiting() {
        return isWaiting;
      },
      setWaiting,
      enterKms() {
        if (!hasKmsSlot(client))
          throw new ProviderError(
            "OVERLOADED",
            `${count.inflight} of ${maxInflight} calls to the KMS at once`,
          );
        addInflight(client, 1);
      },
      leaveKms: () => addInflight(client, -1),
      end(isServed) {
        setWaiting(false);
        if (isServed) client.servedAt = performance.now();
        if (!client.slots.delete(slot)) return;
        count.open -= 1;
        if (isStream) count.streams -= 1;
      },
    };
    client.slots.add(slot);
    client.waiting += 1;
    count.open += 1;
    if (isStream) count.streams += 1;
    return slot;
  }

  return {
    addSession(session, connection) {
      const counts = { waiting: 0, inflight: 0 };
      clients.set(session, { session, connection, servedAt: undefined, slots: new Set(), ...counts });
      session.once("close", () => clients.delete(session));
    },
    admit(method, stream) {
      const client = stream.session === undefined ? undefined : clients.get(stream.session);
      if (client === undefined || !hasRoom(method, client)) return undefined;
      return createSlot(client, stream, method.methodKind !== "unary");
    },
    sessions: () => clients.size,
    closeLeastUseful() {
      const least = leastUseful(clients.values());
      if (least !== undefined) close(least);
      return least !== undefined;
    },
    inflight: () => count.inflight,
    describe: () => `${count.open} calls are open, ${count.streams} of them streams`,
  };
}

function isProven({ servedAt }: Client): boolean {
  return servedAt !== undefined && performance.now() - servedAt < provenMs;
}

/** Of the clients that are not proven the one with most calls that wait for it; where none has any, of all. */
function mostWaiting(clients: Iterable<Client>): Client | undefined {
  let worst: Client | undefined;
  let worstProven: Client | undefined;
  for (const client of clients) {
    if (client.waiting === 0) continue;
    if (!isProven(client) && client.waiting >= (worst?.waiting ?? 0)) worst = client;
    if (isProven(client) && client.waiting >= (worstProven?.waiting ?? 0)) worstProven = client;
  }
  return worst ?? worstProven;
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

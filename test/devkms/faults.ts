/**
 * The switches by which a test makes the embedded KMS misbehave: one object, read by both faces at every
 * request, changed while the KMS runs.
 */
import { type KmipQuirks, noQuirks } from "./kmip-quirks.ts";

/** An operation refused by its Result Reason (KMIP); REST has its own in {@link RestFaults}. */
export interface Refusal {
  /** Refuse only this operation, as `Encrypt`. Default: every one. */
  readonly operation?: string;
  /** Result Reason by its name in src/kmip/spec, as `PermissionDenied`. */
  readonly reason: string;
  /** Result Message. Default: none. */
  readonly message?: string;
}

/** Faults of the REST face alone. */
export interface RestFaults {
  /** Answer every call with this HTTP status and a proper error body. */
  status?: number;
  /** Send a page of this text beside `status`, in place of the error body, as a proxy does. */
  page?: string;
  /** Send Retry-After beside `status`. */
  retryAfterSeconds?: number;
  /** Answer 200 with JSON that stops in the middle. */
  brokenBody?: boolean;
  /** Answer 200 with a body far over every limit. */
  hugeBody?: boolean;
}

/** What goes wrong. As made by {@link createFaults}: nothing. */
export interface Faults {
  /** Wait so long before each answer, in ms. */
  delayMs: number;
  /** Refuse requests. */
  refuse: Refusal | undefined;
  /** Read requests and never answer. */
  silent: boolean;
  /** Close the connection in place of an answer. */
  closeAfterRequest: boolean;
  /** Send the first half of an answer, then nothing. */
  halfFrame: boolean;
  /** Answer with bytes that are not KMIP (or not HTTP's JSON). */
  garbage: boolean;
  /** How many more requests `refuse` to `garbage` and `rest` apply to. Undefined: until reset. */
  count: number | undefined;
  /** Ids of keys that this client may not use: Permission Denied, or 403. `count` does not apply. */
  readonly deniedKeys: Set<string>;
  /** Decrypt gives these bytes, whatever it is asked, as a KMS whose replies have slipped. */
  decryptsTo: Buffer | undefined;
  /** Do not set the ID placeholder on Locate and Create, as PyKMIP does not. */
  noPlaceholder: boolean;
  /** Hang up on a KMIP message of several operations; `count` does not apply. */
  noBatches: boolean;
  /**
   * Refuses handshakes that resume a TLS session, or does not know the client on such connections: Permission Denied, or
   * 403. `count` does not apply.
   */
  resumption: "alert" | "hang-up" | "denied" | undefined;
  /** Connections that are older fail: General Failure, or 401; in ms. `count` does not apply. */
  goodForMs: number | undefined;
  /** Refuses each request over HTTP/2 with HTTP_1_1_REQUIRED, as Apache does where a path has its own SSLVerifyClient. */
  http1Required: boolean;
  rest: RestFaults;
  /** What the KMIP face does as some real servers do. */
  readonly kmip: KmipQuirks;
}

/** What befalls one request. */
export type Fault = "refuse" | "silent" | "closeAfterRequest" | "halfFrame" | "garbage" | "rest";

/** A KMS that does everything right. */
export function createFaults(): Faults {
  return { ...harmless(), deniedKeys: new Set(), kmip: noQuirks() };
}

/** Puts every switch back. */
export function resetFaults(faults: Faults): void {
  faults.deniedKeys.clear();
  Object.assign(faults.kmip, noQuirks());
  Object.assign(faults, harmless());
}

function harmless(): Omit<Faults, "deniedKeys" | "kmip"> {
  return {
    delayMs: 0,
    refuse: undefined,
    silent: false,
    closeAfterRequest: false,
    halfFrame: false,
    garbage: false,
    count: undefined,
    decryptsTo: undefined,
    resumption: undefined,
    goodForMs: undefined,
    noPlaceholder: false,
    noBatches: false,
    http1Required: false,
    rest: {},
  };
}

/**
 * Decides what befalls one request, and counts it off `faults.count`: call it once a request. Delay, denied keys
 * and the placeholder are not among what it gives: read those where they matter.
 * @param face who asks: `rest` befalls the REST face only
 * @param operations names of the request's operations, for a refusal of some only
 */
export function takeFault(
  faults: Faults,
  face: "kmip" | "rest",
  operations: readonly string[],
): Fault | undefined {
  const fault = faultOf(faults, operations) ?? (face === "rest" ? restFault(faults.rest) : undefined);
  if (fault === undefined || faults.count === undefined) return fault;
  if (faults.count <= 0) return undefined;
  faults.count -= 1;
  return fault;
}

function faultOf(faults: Faults, operations: readonly string[]): Fault | undefined {
  if (faults.silent) return "silent";
  if (faults.closeAfterRequest) return "closeAfterRequest";
  if (faults.halfFrame) return "halfFrame";
  if (faults.garbage) return "garbage";
  const refused = faults.refuse;
  const refuses = refused && (refused.operation === undefined || operations.includes(refused.operation));
  return refuses ? "refuse" : undefined;
}

function restFault(rest: RestFaults): "rest" | undefined {
  return Object.values(rest).some((value) => value !== undefined && value !== false) ? "rest" : undefined;
}

/** A connection as a face knows it. */
export interface Peer {
  /** In ms of `performance.now()`. */
  readonly openedAt: number;
  /** Whether its handshake resumed a session. */
  readonly isResumed: boolean;
}

/** What is wrong with every request on such a connection; undefined where nothing is. */
export function peerFault({ openedAt, isResumed }: Peer, faults: Faults): "denied" | "stale" | undefined {
  if (faults.resumption === "denied" && isResumed) return "denied";
  const { goodForMs } = faults;
  return goodForMs !== undefined && performance.now() - openedAt > goodForMs ? "stale" : undefined;
}

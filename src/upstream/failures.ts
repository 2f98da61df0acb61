/** What one call's attempts have failed with so far, and which of it the caller is told. */
import { type CertificateSuspicion, NetworkError, ProviderError, TimeoutError } from "../errors.ts";
import type { Address } from "./connection.ts";

/** After so many permanent failures in a row at each endpoint the caller is told: its deadline would change nothing. */
const mostPermanent = 3;

/** The record of one call, made at its beginning. */
export class CallFailures {
  readonly #startedAt = performance.now();
  #lastAt = this.#startedAt;
  #last: ProviderError | undefined;
  /** The last failed dial of each endpoint. */
  #dials: Map<Address, ProviderError> | undefined;
  #permanentDials = 0;

  /** An attempt failed, and another follows. */
  add(failure: ProviderError): void {
    this.#last = failure;
    this.#lastAt = performance.now();
  }

  /** No connection could be made. */
  addDial(endpoint: Address, failure: ProviderError): void {
    this.add(failure);
    this.#dials ??= new Map();
    this.#dials.set(endpoint, failure);
    this.#permanentDials = isPermanent(failure) ? this.#permanentDials + 1 : 0;
  }

  /** Whether more dials to so many endpoints would change nothing. */
  isHopeless(endpoints: number): boolean {
    return this.#permanentDials >= mostPermanent * endpoints;
  }

  /** One error for the dials that failed; undefined where none has. */
  get ofDials(): ProviderError | undefined {
    return this.#dials === undefined ? undefined : summaryOf(this.#dials);
  }

  /**
   * What to report in place of `end`, with which the call ended. A TIMEOUT stands where the server was silent for longer
   * than it had failed before; else the last failure is what the caller's time was spent on.
   */
  insteadOf(end: ProviderError): ProviderError {
    if (end.code !== "TIMEOUT" || this.#last === undefined) return end;
    const isSilent = performance.now() - this.#lastAt > this.#lastAt - this.#startedAt;
    return isSilent ? end : this.#last;
  }
}

/** Whether the same dial fails again in a moment: somebody has to change something first. */
function isPermanent(failure: ProviderError): boolean {
  return failure.code === "TLS" || failure.kind === "refused" || failure.kind === "config";
}

/** One error for a call that no endpoint answered. */
function summaryOf(failures: ReadonlyMap<Address, ProviderError>): ProviderError | undefined {
  const all = [...failures.values()];
  const [first] = all;
  if (first === undefined || all.length === 1) return first;
  // All of one kind say more than a summary would: a client that every server refuses is refused, not out of reach.
  if (first.kind !== "network" && first.code !== "TIMEOUT" && all.every(({ code }) => code === first.code))
    return first;
  const message = `no server answers: ${[...new Set(all.map((failure) => failure.message))].join("; ")}`;
  if (all.every(({ code }) => code === "TIMEOUT"))
    return new TimeoutError("connect", message, { cause: first });
  return new NetworkError(all.every(isPermanent) ? "TLS" : "CONNECT", message, {
    endpoint: [...failures.keys()].map(({ name }) => name).join(", "),
    sent: false,
    clientCertificate: all.map(suspicionOf).find((suspicion) => suspicion !== undefined),
    cause: first,
  });
}

function suspicionOf(failure: ProviderError): CertificateSuspicion | undefined {
  return failure instanceof NetworkError ? failure.clientCertificate : undefined;
}

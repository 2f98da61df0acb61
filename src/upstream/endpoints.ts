/**
 * The endpoints of one KMS, in order of preference: which one is active, when the next one takes over, and when an earlier
 * one is returned to. `report…` is the only way to change a health; no dial changes which endpoint is active.
 */
import { ProviderError } from "../errors.ts";
import { jittered } from "./backoff.ts";
import type { Address, Connection, Exchange } from "./connection.ts";
import { type Endpoint, type Health, longestDialMs } from "./endpoint.ts";
import type { EndpointEvent } from "./events.ts";

/** What the set is made with. */
export interface EndpointsOptions<A extends Address, C extends Connection> {
  /** In order of preference, at least one. */
  readonly all: readonly Endpoint<A, C>[];
  /** Time between two health checks of an endpoint that is not active, in ms. */
  readonly checkMs: number;
  /** Sends a cheap request on a connection. */
  readonly check: (connection: C, address: A) => Exchange<unknown>;
  readonly onChange: (event: EndpointEvent) => void;
}

/** Longest time for one health check, in ms. */
const checkTimeoutMs = 4_000;

const ranks: Readonly<Record<Health, number>> = { up: 0, unknown: 0, suspect: 1, down: 2 };

/** See above. */
export class Endpoints<A extends Address, C extends Connection> {
  readonly all: readonly Endpoint<A, C>[];
  readonly #options: EndpointsOptions<A, C>;
  readonly #failedAt = new Map<Endpoint<A, C>, number>();
  #active: Endpoint<A, C>;
  /** Why the active endpoint became that, where no event has said so yet. */
  #whyActive: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #callOff: (() => void) | undefined;
  #isClosed = false;

  constructor(options: EndpointsOptions<A, C>) {
    const [first] = options.all;
    if (first === undefined) throw new RangeError("at least one endpoint is needed");
    this.#options = options;
    this.all = options.all;
    this.#active = first;
  }

  /** The endpoint that calls go to. */
  get active(): Endpoint<A, C> {
    return this.#active;
  }

  /** In which order a call tries the endpoints: the active one, then by health; of those down the one that failed first. */
  inOrder(): readonly Endpoint<A, C>[] {
    if (this.all.length === 1) return this.all;
    const rankOf = (endpoint: Endpoint<A, C>): number =>
      endpoint === this.#active && ranks[endpoint.health] === 0 ? -1 : ranks[endpoint.health];
    return this.all.toSorted(
      (a, b) =>
        rankOf(a) - rankOf(b) ||
        (rankOf(a) > 0 ? (this.#failedAt.get(a) ?? 0) - (this.#failedAt.get(b) ?? 0) : 0),
    );
  }

  /** It answered a request, whatever it said. */
  reportReply(endpoint: Endpoint<A, C>): void {
    const message = `${endpoint.name} answers`;
    if (endpoint.health !== "up") this.#set(endpoint, "up", message);
    if (endpoint !== this.#active && this.#active.health !== "up") this.#activate(endpoint, message);
  }

  /** It cannot be reached, or it says that it cannot serve. */
  reportDown(endpoint: Endpoint<A, C>, message: string): void {
    this.#failed(endpoint, "down", message);
  }

  /** It accepted a request and gave no reply, to anybody since `since`. */
  reportSilent(endpoint: Endpoint<A, C>, since: number, message: string): void {
    if (endpoint.pool.lastReplyAt >= since) return;
    this.#failed(endpoint, "suspect", message);
  }

  /** Ends the health checks. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#callOff?.();
  }

  #failed(endpoint: Endpoint<A, C>, health: "suspect" | "down", message: string): void {
    const isNew = ranks[endpoint.health] === 0;
    if (isNew && endpoint === this.#active && this.all.length > 1) endpoint.ejection.record();
    this.#failedAt.set(endpoint, performance.now());
    if (endpoint.health !== "down") this.#set(endpoint, health, message);
    if (this.all.length === 1) return;
    if (endpoint === this.#active) {
      const next = this.inOrder().find((one) => ranks[one.health] === 0);
      if (next !== undefined) this.#activate(next, `takes over from ${endpoint.name}`);
    }
    this.#planCheck();
  }

  #set(endpoint: Endpoint<A, C>, health: Health, message: string): void {
    const before = endpoint.health;
    endpoint.health = health;
    const isUp = health === "up";
    if ((before === "up") === isUp && before !== "unknown") return;
    const why = endpoint === this.#active ? this.#whyActive : undefined;
    if (endpoint === this.#active) this.#whyActive = undefined;
    this.#report(endpoint, isUp && why !== undefined ? why : message);
  }

  #activate(endpoint: Endpoint<A, C>, message: string): void {
    const before = this.#active;
    if (before === endpoint) return;
    this.#active = endpoint;
    before.pool.drain(`${endpoint.name} is the active server now`);
    // Of one that was never asked its first reply, or its failure, tells.
    if (endpoint.health === "unknown") this.#whyActive = message;
    else this.#report(endpoint, message);
    this.#planCheck();
  }

  #report(endpoint: Endpoint<A, C>, message: string): void {
    this.#options.onChange({
      type: "endpoint",
      endpoint: endpoint.name,
      up: endpoint.health === "up",
      inUse: endpoint === this.#active,
      message,
    });
  }

  get #isPreferredActive(): boolean {
    return this.#active === this.all[0];
  }

  /** While an endpoint before the active one could be returned to, or another one is not up, checks are made. */
  #planCheck(): void {
    if (this.#isClosed || this.#timer !== undefined || this.all.length === 1) return;
    const isDue =
      !this.#isPreferredActive || this.all.some((one) => one !== this.#active && ranks[one.health] > 0);
    if (!isDue) return;
    this.#timer = setTimeout(() => {
      void this.#checkAll().finally(() => {
        this.#timer = undefined;
        this.#planCheck();
      });
    }, jittered(this.#options.checkMs));
    this.#timer.unref();
  }

  async #checkAll(): Promise<void> {
    for (const endpoint of this.all) {
      const isPreferred = this.all.indexOf(endpoint) < this.all.indexOf(this.#active);
      if (endpoint === this.#active || (!isPreferred && ranks[endpoint.health] === 0)) continue;
      if (isPreferred && endpoint.ejection.isActive) continue;
      const durationMs = await this.#check(endpoint);
      if (this.#isClosed || endpoint === this.#active) return;
      if (durationMs === undefined) continue;
      const isQuick = durationMs <= longestDialMs || ranks[this.#active.health] > 0;
      if (isPreferred && isQuick) {
        // One event tells both that it is up and that it is the active one.
        endpoint.health = "up";
        return this.#activate(endpoint, `answers again, and is preferred to ${this.#active.name}`);
      }
      this.#set(endpoint, "up", `${endpoint.name} answers again`);
      endpoint.pool.drain("health check only");
    }
  }

  /** How long the check took, in ms; undefined where it failed. */
  #check(endpoint: Endpoint<A, C>): Promise<number | undefined> {
    const startedAt = performance.now();
    return new Promise((resolve) => {
      const waiting: { stop?: () => unknown } = {};
      let exchange: Exchange<unknown> | undefined;
      const end = (isAnswered: boolean): void => {
        clearTimeout(timer);
        waiting.stop?.();
        exchange?.abort(new ProviderError("CANCELED", "the health check has ended"));
        this.#callOff = undefined;
        resolve(isAnswered ? performance.now() - startedAt : undefined);
      };
      const timer = setTimeout(() => end(false), checkTimeoutMs);
      this.#callOff = () => end(false);
      waiting.stop = endpoint.pool.wait({
        wanted: { since: startedAt, isNew: false },
        isPatient: true,
        onFailure: () => end(false),
        onLease: (lease) => {
          exchange = this.#options.check(lease.connection, endpoint.address);
          const release = (isAnswered: boolean): void => {
            lease.release(isAnswered);
            end(isAnswered);
          };
          exchange.reply.then(
            () => release(true),
            () => release(false),
          );
        },
      });
    });
  }
}

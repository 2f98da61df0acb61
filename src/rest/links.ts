/**
 * For each server the connections in use, and those being retired: made where first needed, exchanged as a
 * whole for a new certificate or after a silence. Loads undici (15 MB) only once a call is made.
 */
import { ProviderError } from "../errors.ts";
import type { TlsMaterial } from "../net/tls.ts";
import { type Connections, createConnections, type Undici } from "./connections.ts";
import type { Counts, RestObserver } from "./events.ts";
import type { Server } from "./servers.ts";

/** The connections to all servers. */
export interface Links {
  /** To be awaited before the first `to`. */
  ready(): Promise<void>;
  /**
   * The connections in use to a server.
   * @throws TLS_FILES before the first material; SHUTTING_DOWN after the end
   */
  to(server: Server): Connections;
  /**
   * When something last arrived that speaks for these connections, in ms of `performance.now()`; 0: never. On any
   * connection to the server, but where these were replaced only on themselves: they may be what has died.
   */
  lastHeardAt(server: Server, connections: Connections): number;
  /** Puts new connections in the place of `old`, if those are still in use; what `old` carries goes on. */
  renew(server: Server, old: Connections): void;
  /**
   * The same where nothing has come on them for a while: they may have died with what was tried before, and whoever
   * tries again has no time to find out.
   */
  renewIdle(server: Server): void;
  /** The same for all servers, with a new certificate. */
  setTlsMaterial(material: TlsMaterial): void;
  /** All connections, those being retired too. */
  counts(): Counts;
  /** Ends everything; resolves when every socket is closed. */
  destroy(reason: ProviderError): Promise<void>;
}

const idleMs = 1_000;

/** Creates them; dials none. */
export function createLinks(onEvent: RestObserver): Links {
  const inUse = new Map<Server, Connections>();
  const all = new Set<Connections>();
  const heardAt = new Map<Server, number>();
  /** Which address of each server's name to try first: the next after one on which nothing was ever heard. */
  const nthAddress = new Map<Server, number>();
  let undici: Undici | undefined;
  let tls: TlsMaterial | undefined;
  let ended: ProviderError | undefined;

  function counts(): Counts {
    let [idle, busy, connecting] = [0, 0, 0];
    for (const one of all) {
      const working = Math.min(one.open, one.inFlight);
      busy += working;
      idle += one.open - working;
      connecting += one.connecting;
    }
    return { idle, busy, connecting };
  }

  function open(server: Server, loaded: Undici, material: TlsMaterial): Connections {
    const endpoint = server.url.name;
    const connections = createConnections({
      undici: loaded,
      url: server.url,
      tls: material,
      nthAddress: nthAddress.get(server) ?? 0,
      onChange: (change) => onEvent({ type: "connection", ...change, endpoint, counts: counts() }),
      onHeard: (now) => heardAt.set(server, now),
      onEnd: () => all.delete(connections),
    });
    all.add(connections);
    inUse.set(server, connections);
    return connections;
  }

  function renew(server: Server, old: Connections): void {
    if (inUse.get(server) === old) {
      inUse.delete(server);
      if (old.lastHeardAt === 0) nthAddress.set(server, (nthAddress.get(server) ?? 0) + 1);
    }
    old.retire();
  }

  return {
    async ready() {
      undici ??= await import("undici");
    },
    to(server) {
      if (ended !== undefined) throw ended;
      if (tls === undefined)
        throw new ProviderError("TLS_FILES", "there is no client certificate yet to connect with");
      if (undici === undefined) throw new ProviderError("INTERNAL", "undici is not loaded");
      return inUse.get(server) ?? open(server, undici, tls);
    },
    lastHeardAt: (server, connections) =>
      inUse.get(server) === connections ? (heardAt.get(server) ?? 0) : connections.lastHeardAt,
    counts,
    renew,
    renewIdle(server) {
      const connections = inUse.get(server);
      if (connections === undefined) return;
      const { lastHeardAt, createdAt } = connections;
      if (performance.now() - Math.max(lastHeardAt, createdAt) >= idleMs) renew(server, connections);
    },
    setTlsMaterial(material) {
      tls = material;
      for (const connections of inUse.values()) connections.retire();
      inUse.clear();
    },
    async destroy(reason) {
      ended ??= reason;
      inUse.clear();
      await Promise.all([...all].map((connections) => connections.destroy(reason)));
    },
  };
}

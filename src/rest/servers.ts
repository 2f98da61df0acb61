/**
 * Failover over the base URLs of one KMS, in order of preference: the first that answers serves; when it fails
 * the next takes over, and those before it are tried again in the background until one answers.
 */
import { createRelapses } from "../relapses.ts";
import type { BaseUrl } from "./base-url.ts";

/** One server, and what is known of it. */
export interface Server {
  readonly url: BaseUrl;
  /** Whether it answered when last asked; undefined: not asked yet. */
  readonly up: boolean | undefined;
}

/** A server was found to be reachable or not, or another became the one in use. */
export interface ServerChange {
  readonly endpoint: string;
  readonly up: boolean;
  readonly inUse: boolean;
  readonly message?: string;
}

/** Which server to ask. */
export interface Servers {
  readonly all: readonly Server[];
  /** The one in use. */
  current(): Server;
  /** One that is not among `tried`, the most preferred of those not known to be down; undefined: none. */
  other(tried: ReadonlySet<Server>): Server | undefined;
  /** It answered: it is up, whatever it said. */
  answered(server: Server): void;
  /** It did not answer, or said that it can't: if it was in use, the next one is now. */
  failed(server: Server, message: string): void;
  /** Ends the trying in the background. */
  close(): void;
}

export interface ServersOptions {
  /** At least one, the preferred one first. */
  readonly urls: readonly BaseUrl[];
  /** Asks a server something cheap; whether it answered. Must not throw. */
  readonly isReachable: (server: Server) => Promise<boolean>;
  readonly onChange: (change: ServerChange) => void;
  /**
   * Time between two tries of a preferred server in the background, in ms; in doubling steps up to twelve times as
   * long where it answers these and then fails its callers again. Default: 5000.
   */
  readonly recallIntervalMs?: number;
}

const defaultRecallIntervalMs = 5_000;

/** Creates the choice among servers, with the first one in use. */
export function createServers(options: ServersOptions): Servers {
  const recallIntervalMs = options.recallIntervalMs ?? defaultRecallIntervalMs;
  const all = options.urls.map((url) => ({
    url,
    up: undefined as boolean | undefined,
    relapses: createRelapses(recallIntervalMs),
  }));
  let inUse = 0;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  const indexOf = (server: Server): number => all.findIndex((one) => one === server);
  const tell = (index: number, message?: string): void => {
    const server = all[index];
    if (server === undefined) return;
    options.onChange({
      endpoint: server.url.endpoint,
      up: server.up === true,
      inUse: index === inUse,
      ...(message === undefined ? {} : { message }),
    });
  };

  function use(index: number, message: string): void {
    const before = inUse;
    inUse = index;
    if (before !== inUse) {
      tell(before);
      tell(inUse, message);
    }
    scheduleRecall();
  }

  function setUp(index: number, up: boolean, message?: string): void {
    const server = all[index];
    if (server === undefined || server.up === up) return;
    server.up = up;
    tell(index, message);
  }

  /** While a preferred server is out of use, asks again and again whether it is back. */
  function scheduleRecall(): void {
    if (closed || inUse === 0 || timer !== undefined) return;
    const interval = recallIntervalMs * (0.8 + Math.random() * 0.4);
    timer = setTimeout(() => {
      void recall().finally(() => {
        timer = undefined;
        scheduleRecall();
      });
    }, interval);
    timer.unref();
  }

  async function recall(): Promise<void> {
    for (const [index, server] of all.slice(0, inUse).entries()) {
      if (server.relapses.isResting()) continue;
      const isBack = await options.isReachable(server);
      if (closed || index >= inUse) return;
      if (!isBack) continue;
      setUp(index, true);
      use(index, "answers again, and is preferred");
      return;
    }
  }

  return {
    all,
    current: () => all[inUse] as Server,
    other(tried) {
      const untried = all.filter((server) => !tried.has(server));
      return untried.find((server) => server.up !== false) ?? untried[0];
    },
    answered: (server) => setUp(indexOf(server), true),
    failed(server, message) {
      const index = indexOf(server);
      setUp(index, false, message);
      if (index !== inUse || all.length === 1) return;
      all[index]?.relapses.note();
      const next = all.findIndex((one) => one.up !== false);
      use(next === -1 ? (index + 1) % all.length : next, `takes over from ${server.url.endpoint}`);
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

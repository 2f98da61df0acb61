/**
 * Failover over the base URLs of one KMS, in order of preference: the first that answers serves; when it fails
 * the next takes over, and those before it are tried again in the background until one answers. So are those after
 * it that were found to be down: whoever looks at what is told must not see a standby as down that is well.
 */
import type { RestAddress } from "../net/address.ts";
import { createRelapses } from "../upstream/ejection.ts";

/** One server, and what is known of it. */
export interface Server {
  readonly url: RestAddress;
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
  readonly urls: readonly RestAddress[];
  /** Asks a server something cheap; whether it answered. Must not throw. */
  readonly isReachable: (server: Server) => Promise<boolean>;
  readonly onChange: (change: ServerChange) => void;
  /**
   * Time between two tries of a preferred server, or of one that is down, in the background, in ms; in doubling steps up to twelve times as
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
  let whyInUse: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  const indexOf = (server: Server): number => all.findIndex((one) => one === server);
  const tell = (index: number, message?: string): void => {
    const server = all[index];
    if (server === undefined) return;
    options.onChange({
      endpoint: server.url.name,
      up: server.up === true,
      inUse: index === inUse,
      ...(message === undefined ? {} : { message }),
    });
  };

  function use(index: number, message: string): void {
    const before = inUse;
    inUse = index;
    if (before !== inUse) {
      if (all[before]?.up === true) tell(before);
      // Of one that was never asked nothing is known yet: its first answer or failure tells.
      if (all[inUse]?.up === true) tell(inUse, message);
      else whyInUse = message;
    }
    scheduleRecall();
  }

  function setUp(index: number, up: boolean, message?: string): void {
    const server = all[index];
    if (server === undefined || server.up === up) return;
    server.up = up;
    tell(index, message ?? (index === inUse ? whyInUse : undefined));
    if (index === inUse) whyInUse = undefined;
  }

  const isRecallDue = (): boolean =>
    inUse > 0 || all.some(({ up }, index) => up === false && index !== inUse);

  /** While a preferred server is out of use, or a standby down, asks again and again whether it is back. */
  function scheduleRecall(): void {
    if (closed || !isRecallDue() || timer !== undefined) return;
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
    for (const [index, server] of all.entries())
      if (index > inUse && server.up === false && (await options.isReachable(server)) && !closed)
        setUp(index, true);
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
      const isNews = all[index]?.up !== false;
      setUp(index, false, message);
      if (all.length === 1) return;
      if (index !== inUse) return scheduleRecall();
      if (isNews) all[index]?.relapses.note();
      const next = all.findIndex((one) => one.up !== false);
      if (next !== -1) return use(next, `takes over from ${server.url.name}`);
      // All are down: they take turns, and whoever answers first tells that it is in use.
      inUse = (index + 1) % all.length;
      whyInUse = undefined;
      scheduleRecall();
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

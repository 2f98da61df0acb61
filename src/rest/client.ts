/**
 * Calls of the OKMS REST API over several servers, within the caller's budget: attempts, failover, repeats after a
 * pause. Knows HTTP and its statuses; what a body means is service-keys.ts.
 */
import { abortError, createSetbacks, type Setbacks } from "../upstream/abort.ts";
import { NetworkError, ProviderError, RestError, toProviderError } from "../errors.ts";
import type { RestAddress } from "../net/address.ts";
import type { TlsMaterial } from "../net/tls.ts";
import { createPatience } from "../upstream/rtt.ts";
import { createSecondChances } from "../upstream/retry-budget.ts";
import { ask, type RestCall } from "./attempts.ts";
import type { Connections } from "./connections.ts";
import { type CallBudget, pause, remainingMs } from "./budget.ts";
import { isJsonObject, restErrorOf } from "./error-body.ts";
import type { Counts, RestObserver } from "./events.ts";
import type { HttpReply } from "./exchange.ts";
import { createLinks } from "./links.ts";
import {
  backoffMs,
  isAboutRequest,
  isFault,
  isPassingStatus,
  isServerTrouble,
  retryAfterMs,
} from "./retry.ts";
import { createServers, type Server } from "./servers.ts";

/** How a client is made. */
export interface RestClientOptions {
  /** In order of preference, at least one. */
  readonly servers: readonly RestAddress[];
  /** Path from `/api` on that a server is asked for to see whether it is back. */
  readonly reachabilityPath: string;
  readonly onEvent?: RestObserver | undefined;
  /** Time between two tries of a preferred server in the background, in ms. Default: 5000. */
  readonly recallIntervalMs?: number | undefined;
}

interface Failure {
  readonly server: Server;
  readonly error: NetworkError | RestError;
  /**
   * Nothing is held against the server: it refused this request, or closed a connection that may just have been
   * idle for too long.
   */
  readonly isHarmless: boolean;
  /** What Retry-After asked for. */
  readonly retryAfterMs: number;
}

/** Calls the API. */
export interface RestClient {
  /**
   * Makes a call, repeated where that may help and the budget allows.
   * @returns what its `read` made of a reply of status 200
   * @throws REST_STATUS for another status; REST_BODY where the body is too long, or what `read` threw; CONNECT, TLS, CLOSED; TIMEOUT,
   *   CANCELED; TLS_FILES; SHUTTING_DOWN
   */
  call<T>(call: RestCall<T>, budget: CallBudget): Promise<T>;
  /** New calls use the new certificate; those in flight end on the old connections, which then close. */
  setTlsMaterial(material: TlsMaterial): void;
  /** The connections, now. */
  counts(): Counts;
  /** Calls in flight fail with SHUTTING_DOWN. Resolves when every socket is closed. Idempotent. */
  close(): Promise<void>;
}

/** Pauses shorter than what is left by less than this would end after the caller has gone. */
const marginMs = 20;
const reachabilityTimeoutMs = 2_000;
const leastPauseMs = 100;
/**
 * A certificate that is refused now is refused in a second too: better to say so soon. Not at the first refusal: a
 * server that is only starting can give one.
 */
const mostHopeless = 3;
/** Below this a wait says more of a dial, or of this machine, than of the KMS. */
const leastPatienceMs = 500;

/**
 * Creates a client; nothing is dialled before the first call.
 * @throws CONFIG where a base URL is none
 */
export function createRestClient(options: RestClientOptions): RestClient {
  const onEvent = options.onEvent ?? (() => undefined);
  const links = createLinks(onEvent);
  const servers = createServers({
    urls: options.servers,
    isReachable,
    onChange: (change) => onEvent({ type: "endpoint", ...change }),
    ...(options.recallIntervalMs === undefined ? {} : { recallIntervalMs: options.recallIntervalMs }),
  });

  const shared = {
    servers,
    links,
    onEvent,
    patience: createPatience(leastPatienceMs),
    secondChances: createSecondChances(),
    extra: { count: 0 },
    overtaken: new WeakSet<Connections>(),
  };

  async function isReachable(server: Server): Promise<boolean> {
    try {
      const connections = links.to(server);
      const isThere = await answers(connections, server.url.pathPrefix + options.reachabilityPath);
      // Connections that hang would hang the next time too.
      if (!isThere) links.renew(server, connections);
      return isThere;
    } catch {
      return false;
    }
  }

  /** One try, and what it says of the server that was asked. */
  async function attempt<T>(
    request: RestCall<T>,
    budget: CallBudget,
    asked: Server,
    isFirst: boolean,
  ): Promise<{ readonly value: T } | Failure> {
    try {
      const answer = await ask(request, budget, shared, asked);
      if ("refusal" in answer) return refused(answer.server, answer.refusal, request.name);
      servers.answered(answer.server);
      return answer;
    } catch (error) {
      // What is no reply may come from something before the KMS: another way to it may not have that.
      const isOnlyOne = servers.all.length === 1;
      if (error instanceof RestError) return { server: asked, error, isHarmless: isOnlyOne, retryAfterMs: 0 };
      if (!(error instanceof NetworkError)) throw error;
      const server = servers.all.find(({ url }) => url.name === error.endpoint) ?? asked;
      return { server, error, isHarmless: isFirst && error.code === "CLOSED", retryAfterMs: 0 };
    }
  }

  async function call<T>(request: RestCall<T>, budget: CallBudget): Promise<T> {
    const setbacks = createSetbacks();
    try {
      await links.ready();
      return await tryAgain(request, budget, setbacks);
    } catch (error) {
      throw setbacks.insteadOf(toProviderError(error));
    }
  }

  async function tryAgain<T>(request: RestCall<T>, budget: CallBudget, setbacks: Setbacks): Promise<T> {
    const troubled = new Set<Server>();
    const faulty: Failure[] = [];
    let next: Server | undefined;
    let broken = 0;
    let hopeless = 0;
    for (let failures = 1; ; failures += 1) {
      if (budget.signal.aborted) throw abortError(budget.signal, "connect", `${request.name} was to be sent`);
      const asked = next ?? servers.current();
      if (failures > 1) links.renewIdle(asked);
      const outcome = await attempt(request, budget, asked, failures === 1);
      if ("value" in outcome) {
        // Another could do it: what had looked like a fault of the request was the server's.
        for (const fault of faulty) servers.failed(fault.server, fault.error.message);
        return outcome.value;
      }
      const { server, error, isHarmless } = outcome;
      next = isFault(statusOf(error)) ? servers.other(troubled.add(server)) : undefined;
      if (next !== undefined) {
        faulty.push(outcome);
        setbacks.add(error);
        continue;
      }
      if (isHarmless) {
        if (error instanceof RestError) servers.answered(server);
      } else {
        servers.failed(server, error.message);
      }
      if (error.code === "REST_BODY") broken += 1;
      hopeless = error.code === "TLS" ? hopeless + 1 : 0;
      if (!isHarmless || error.code === "REST_BODY") troubled.add(server);
      const hasFreshServer = !troubled.has(servers.current());
      // A proxy's page in place of a reply may be gone in a moment; a fault of the API will not be. Once more than
      // there are servers: one of them may only have been out of reach before.
      const pauseMs =
        broken > servers.all.length || hopeless >= mostHopeless
          ? undefined
          : pauseBefore(outcome, failures, hasFreshServer, remainingMs(budget));
      if (pauseMs === undefined || pauseMs + marginMs > remainingMs(budget)) throw error;
      setbacks.add(error);
      await pause(pauseMs, budget.signal);
      if (budget.signal.aborted) throw abortError(budget.signal, "retry", "waiting to try again", error);
    }
  }

  return {
    call,
    setTlsMaterial: links.setTlsMaterial,
    counts: links.counts,
    async close() {
      servers.close();
      await links.destroy(new ProviderError("SHUTTING_DOWN", "the provider is shutting down"));
    },
  };
}

const tookTooLong = new ProviderError("TIMEOUT", "no answer while looking whether the server is back");

async function answers(connections: Connections, path: string): Promise<boolean> {
  const exchange = connections.send({ method: "GET", path, body: undefined, maxReplyBytes: 1 << 20 });
  const timer = setTimeout(exchange.abort, reachabilityTimeoutMs, tookTooLong);
  try {
    const { status, body } = await exchange.reply;
    // A proxy's page says only that the proxy is there; a refusal by the API, that the API is.
    return status === 429 || (isAboutRequest(status) && isJsonObject(body));
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}

/** The status of a refusal; 0 where there was none. */
function statusOf(error: ProviderError): number {
  return error instanceof RestError && error.code === "REST_STATUS" ? error.status : 0;
}

function refused(server: Server, reply: HttpReply, name: string): Failure {
  return {
    server,
    error: restErrorOf(reply, name, server.url.name),
    isHarmless: !isServerTrouble(reply.status),
    retryAfterMs: retryAfterMs(reply.headers["retry-after"]) ?? 0,
  };
}

/** How long to wait before the next try, in ms; undefined where another would not help. */
function pauseBefore(
  failure: Failure,
  failures: number,
  hasFreshServer: boolean,
  leftMs: number,
): number | undefined {
  const { error } = failure;
  // A long back-off must not be the reason why what is left of a caller's time goes unused.
  const usual = backoffMs(failures, error instanceof NetworkError ? "connection" : "reply");
  const backoff = Math.min(usual, Math.max(leastPauseMs, leftMs / 2));
  if (error.code === "REST_BODY") return hasFreshServer ? 0 : backoff;
  if (error instanceof NetworkError) {
    return hasFreshServer ? 0 : backoff;
  }
  if (!isPassingStatus(error.status)) return undefined;
  if (isServerTrouble(error.status) && hasFreshServer) return 0;
  return Math.max(backoff, failure.retryAfterMs);
}

/**
 * One request until something answers it. A reply that stays out may mean a slow KMS, or a path that died without
 * FIN or RST: after a patience the request is sent again, and again, on another server or on fresh connections,
 * and the first answer wins. All calls can be repeated safely. A server that answers others meanwhile is slow: then
 * a request is repeated only now and then.
 */
import { abortError, createSetbacks } from "../upstream/abort.ts";
import { ProviderError, type RestError, toProviderError } from "../errors.ts";
import type { Patience } from "../upstream/rtt.ts";
import type { SecondChances } from "../upstream/retry-budget.ts";
import { type CallBudget, remainingMs } from "./budget.ts";
import type { Connections } from "./connections.ts";
import { pageErrorOf, restErrorOf } from "./error-body.ts";
import { createReport, type RestObserver } from "./events.ts";
import type { Exchange, HttpReply, HttpRequest } from "./exchange.ts";
import type { Links } from "./links.ts";
import { isPassingStatus, isServerTrouble } from "./retry.ts";
import type { Server, Servers } from "./servers.ts";

/** A call of the API, and how its reply is read. */
export interface RestCall<T> {
  /** For log, metrics and messages, as `encrypt`. */
  readonly name: string;
  readonly method: "GET" | "POST";
  /** From `/api` on, with query. */
  readonly path: string;
  /** JSON text. */
  readonly body?: string;
  /** Most bytes of a reply. */
  readonly maxReplyBytes: number;
  /** Reads a reply of status 200. @throws REST_BODY where it is not what the API promises */
  readonly read: (reply: HttpReply, endpoint: string) => T;
}

/** What a server said: a value, or a reply of another status than 200. */
export type Answer<T> =
  | { readonly server: Server; readonly value: T }
  | { readonly server: Server; readonly refusal: HttpReply };

/** What attempts are made with. */
export interface AttemptContext {
  readonly servers: Servers;
  readonly links: Links;
  readonly onEvent: RestObserver;
  /** Shared by all calls. */
  readonly patience: Patience;
  readonly secondChances: SecondChances;
  /** How many second and later tries of all calls are under way; counted here. */
  readonly extra: { count: number };
  /** Connections on which a call still waited when others had answered it: one of them has died, or hangs. */
  readonly overtaken: WeakSet<Connections>;
}

interface Attempt<T> {
  readonly server: Server;
  readonly connections: Connections;
  readonly exchange: Exchange;
  readonly startedAt: number;
  /** Never rejects. */
  readonly outcome: Promise<Outcome<T>>;
}

/** How an attempt ended. */
type Outcome<T> = { readonly attempt: Attempt<T> } & (
  | { readonly answer: Answer<T> }
  | { readonly error: ProviderError }
);

/** Tries of one call that may wait at a time; the oldest is always among them. */
const mostRunning = 4;
/** Second and later tries that may wait at a time, of all calls: an overloaded KMS is not to be finished off. */
const mostExtra = 64;
/** Once a reply is overdue, a path that heals for a moment is to be found. */
const repeatMs = 500;
const leastAgeMs = 1_000;
/** A try that is begun with less time than this would come too late. */
const leastLeftMs = 200;
/** How often is looked whether a slow server may be asked once more. */
const lookAgainMs = 50;
const leastWaitMs = 10;

/**
 * Sends the call to `server`, and where that is slow or silent to others, until a reply is there.
 * @throws what the last attempt did where all have failed (NetworkError, REST_BODY); TIMEOUT, CANCELED, or the reason of
 *   the caller's signal; TLS_FILES, SHUTTING_DOWN
 */
export async function ask<T>(
  call: RestCall<T>,
  budget: CallBudget,
  context: AttemptContext,
  server: Server,
): Promise<Answer<T>> {
  const first = begin(call, server, budget, context);
  const running = [first];
  const tried = new Set([first.server]);
  const waiting = watchBudget(budget.signal);
  let silenceMs = context.patience.withSilence(remainingMs(budget));
  let waitMs = silenceMs;
  const setbacks = createSetbacks();
  let giveUp: ProviderError | undefined;
  try {
    for (;;) {
      const event = await nextEvent(running, waitMs, waiting.aborted);
      if (event === "aborted") {
        giveUp = setbacks.insteadOf(outOfTime(call, budget, running, context));
        throw giveUp;
      }
      if (event === "quiet") {
        waitMs = untilOverdueMs(running, silenceMs, budget, context);
        if (waitMs > 0) continue;
        repeat(call, running, tried, silenceMs, budget, context);
        silenceMs = Math.min(silenceMs, repeatMs);
        waitMs = silenceMs;
        continue;
      }
      const { attempt } = event;
      running.splice(running.indexOf(attempt), 1);
      const isLast = running.length === 0;
      if ("answer" in event) {
        const trouble = isLast ? undefined : passingTrouble(event.answer, call);
        if (trouble === undefined) return accept(attempt, event.answer, running, context);
        if (isServerTrouble(trouble.status)) context.servers.failed(attempt.server, trouble.message);
        setbacks.add(trouble);
      } else {
        if (isLast) throw event.error;
        setbacks.add(event.error);
      }
      waitMs = leastWaitMs;
    }
  } finally {
    waiting.end();
    for (const { exchange } of running) exchange.abort(giveUp ?? superseded());
  }
}

/** What one server can't do now, where another that is asked may only be slow; undefined for any other answer. */
function passingTrouble<T>(answer: Answer<T>, call: RestCall<T>): RestError | undefined {
  return "refusal" in answer && isPassingStatus(answer.refusal.status)
    ? restErrorOf(answer.refusal, call.name, answer.server.url.name)
    : undefined;
}

/** Sends the call once, and sees to it that its end is told. */
function begin<T>(
  call: RestCall<T>,
  server: Server,
  budget: CallBudget,
  { links, onEvent }: AttemptContext,
): Attempt<T> {
  const request: HttpRequest = {
    method: call.method,
    path: server.url.pathPrefix + call.path,
    body: call.body,
    maxReplyBytes: call.maxReplyBytes,
  };
  const endpoint = server.url.name;
  const connections = links.to(server);
  const startedAt = performance.now();
  const exchange = connections.send(request);
  const report = createReport(call, endpoint, startedAt, budget.uid, onEvent);
  report.sent(request);
  const outcome = exchange.reply.then(
    (reply): Outcome<T> => {
      try {
        const isValue = reply.status === 200;
        const page = isValue ? undefined : pageErrorOf(reply, call.name, endpoint);
        if (page !== undefined) throw page;
        const answer = isValue ? { server, value: call.read(reply, endpoint) } : { server, refusal: reply };
        report.ended(reply);
        return { attempt, answer };
      } catch (error) {
        return failed(error, reply);
      }
    },
    (error: unknown) => failed(error),
  );
  const failed = (thrown: unknown, reply?: HttpReply): Outcome<T> => {
    const error = toProviderError(thrown);
    report.ended(reply, error);
    return { attempt, error };
  };
  const attempt: Attempt<T> = { server, connections, exchange, startedAt, outcome };
  return attempt;
}

/** What happens next: an attempt ends, nothing does for `waitMs`, or the time is over. */
async function nextEvent<T>(
  running: readonly Attempt<T>[],
  waitMs: number,
  aborted: Promise<"aborted">,
): Promise<Outcome<T> | "quiet" | "aborted"> {
  const { promise: quiet, resolve } = Promise.withResolvers<"quiet">();
  const timer = setTimeout(resolve, waitMs, "quiet");
  try {
    return await Promise.race([...running.map(({ outcome }) => outcome), aborted, quiet]);
  } finally {
    clearTimeout(timer);
  }
}

/** How long to go on waiting, in ms; 0 where the call is to be sent once more. */
function untilOverdueMs<T>(
  running: readonly Attempt<T>[],
  silenceMs: number,
  budget: CallBudget,
  { links, patience, secondChances, extra, overtaken }: AttemptContext,
): number {
  const newest = running.at(-1);
  const leftMs = remainingMs(budget);
  // A caller's time may be moved while it waits.
  if (newest === undefined || leftMs < leastLeftMs) return Math.max(leftMs, leastWaitMs);
  if (running.length === 1 && extra.count >= mostExtra) return lookAgainMs;
  const now = performance.now();
  const silentMs = now - Math.max(newest.startedAt, links.lastHeardAt(newest.server, newest.connections));
  const untilSilentMs = silenceMs - silentMs;
  if (untilSilentMs < 1) return 0;
  const isLate = now - newest.startedAt >= patience.withReply();
  if (isLate && (overtaken.has(newest.connections) || secondChances.take())) return 0;
  return Math.max(Math.min(untilSilentMs, lookAgainMs), leastWaitMs);
}

/** Sends the call again, elsewhere; the first attempt goes on, for the KMS may only be slow. */
function repeat<T>(
  call: RestCall<T>,
  running: Attempt<T>[],
  tried: Set<Server>,
  silenceMs: number,
  budget: CallBudget,
  context: AttemptContext,
): void {
  const newest = running.at(-1);
  if (newest === undefined) return;
  const { servers, links, extra } = context;
  if (areDoubtful(newest.connections, silenceMs)) links.renew(newest.server, newest.connections);
  if (running.length === mostRunning || extra.count >= mostExtra)
    running.splice(1, 1)[0]?.exchange.abort(superseded());
  const server = servers.other(tried) ?? servers.current();
  tried.add(server);
  links.renewIdle(server);
  const attempt = begin(call, server, budget, context);
  running.push(attempt);
  extra.count += 1;
  void attempt.outcome.finally(() => (extra.count -= 1));
}

/**
 * Whether connections should be left: all are silent, or one may be and undici would choose it again. The young
 * and lively are kept, lest a slow KMS be met with ever new handshakes.
 */
function areDoubtful({ lastHeardAt, createdAt }: Connections, silenceMs: number): boolean {
  const now = performance.now();
  return now - lastHeardAt >= silenceMs || now - createdAt >= leastAgeMs;
}

/** An answer is there: whoever was asked before and is still silent has failed. */
function accept<T>(
  winner: Attempt<T>,
  answer: Answer<T>,
  running: readonly Attempt<T>[],
  { servers, patience, secondChances, overtaken }: AttemptContext,
): Answer<T> {
  patience.remember(performance.now() - winner.startedAt);
  secondChances.earn();
  for (const { server, connections, startedAt } of running) {
    if (startedAt >= winner.startedAt) continue;
    if (connections !== winner.connections) overtaken.add(connections);
    if (server !== winner.server) servers.failed(server, silence(server, connections, startedAt));
  }
  return answer;
}

function outOfTime<T>(
  call: RestCall<T>,
  budget: CallBudget,
  running: readonly Attempt<T>[],
  { servers }: AttemptContext,
): ProviderError {
  const newest = running.at(-1);
  const endpoint = newest?.server.url.name ?? "the server";
  const hangs = newest === undefined ? "" : hangsAt(newest.connections);
  const isConnected = (newest?.connections.open ?? 0) > 0;
  // One silent attempt may be a caller in a hurry; two of them speak of the server.
  if (running.length > 1)
    for (const { server, connections, startedAt } of running)
      servers.failed(server, silence(server, connections, startedAt));
  return isConnected
    ? abortError(budget.signal, "response", `${endpoint} was asked for ${call.name}`)
    : abortError(budget.signal, "connect", `connecting to ${endpoint}${hangs}`);
}

function superseded(): ProviderError {
  return new ProviderError("CANCELED", "given up for another try of the same call");
}

function silence({ url }: Server, connections: Connections, startedAt: number): string {
  const forMs = Math.round(performance.now() - startedAt);
  return `${url.name} gave no answer for ${forMs} ms${hangsAt(connections)}`;
}

/** In brackets; empty where a connection is there, or none is dialled. */
function hangsAt({ open, dialWaitsFor }: Connections): string {
  return open > 0 || dialWaitsFor === undefined ? "" : ` (${dialWaitsFor})`;
}

function watchBudget(signal: AbortSignal): { readonly aborted: Promise<"aborted">; end(): void } {
  const { promise, resolve } = Promise.withResolvers<"aborted">();
  const onAbort = (): void => resolve("aborted");
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  return { aborted: promise, end: () => signal.removeEventListener("abort", onAbort) };
}

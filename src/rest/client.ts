/**
 * Calls of the OKMS REST API, over the connections of upstream/. Knows HTTP and its statuses; what a body means is
 * service-keys.ts.
 */
import { type ProviderError, RestError, toProviderError } from "../errors.ts";
import type { RestAddress } from "../net/address.ts";
import type { TlsMaterial } from "../net/tls.ts";
import type { Job, RefusalFacts, Verdict } from "../upstream/job.ts";
import type { Exchange } from "../upstream/connection.ts";
import type { CallContext } from "../upstream/context.ts";
import type { ConnectionCounts, Observer } from "../upstream/events.ts";
import { createUpstream, type UpstreamOptions } from "../upstream/upstream.ts";
import {
  type HttpReply,
  type HttpRequest,
  openRestConnection,
  requestIdOf,
  type RestConnection,
} from "./connection.ts";
import { isJsonObject, pageErrorOf, restErrorOf } from "./error-body.ts";
import { classOfStatus, retryAfterMs } from "./statuses.ts";

/** How a client is made. Limits of the connections are for each server; their defaults are those of upstream/. */
export interface RestClientOptions extends Omit<
  UpstreamOptions<RestAddress, RestConnection>,
  "transport" | "maxConnections"
> {
  /** Path from `/api` on of a cheap call, for health checks. */
  readonly reachabilityPath: string;
  /** Most connections to a server, in whatever state. Default 32. */
  readonly maxConnections?: number | undefined;
}

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

/** Calls the API. */
export interface RestClient {
  /**
   * Makes a call.
   * @returns what its `read` made of a reply of status 200
   * @throws REST_STATUS for another status; REST_BODY where the body is too long, or what `read` threw; network and time
   */
  call<T>(call: RestCall<T>, context: CallContext): Promise<T>;
  /** New calls use the new certificate; those in flight end on the old connections, which then close. */
  setTlsMaterial(material: TlsMaterial): void;
  /** The connections, now. */
  counts(): ConnectionCounts;
  /** Calls in flight fail with SHUTTING_DOWN. Resolves when every socket is closed. Idempotent. */
  close(): Promise<void>;
}

const checkReplyBytes = 1 << 20;

/** Creates a client; nothing is dialled, and undici is not loaded, before the first call. */
export function createRestClient(options: RestClientOptions): RestClient {
  const { onEvent, reachabilityPath } = options;

  const check = (connection: RestConnection, { pathPrefix }: RestAddress): Exchange<unknown> => {
    const path = pathPrefix + reachabilityPath;
    const sent = connection.send({ method: "GET", path, body: undefined, maxReplyBytes: checkReplyBytes });
    return { reply: sent.reply.then(throwUnlessOfApi), abort: sent.abort };
  };

  const upstream = createUpstream<RestAddress, RestConnection>({
    ...options,
    maxConnections: options.maxConnections ?? 32,
    transport: { dial: openRestConnection, check },
  });

  return {
    call: (call, context) => upstream.call(jobOf(call, context.uid, onEvent), context),
    setTlsMaterial: upstream.setTlsMaterial,
    counts: upstream.counts,
    close: upstream.close,
  };
}

/** A page of a proxy shows only that the proxy is there; a refusal by the API shows that the API is. */
function throwUnlessOfApi({ status, body }: HttpReply): void {
  const isOfApi = status === 200 || classOfStatus(status) === "request";
  if (status !== 429 && !(isOfApi && isJsonObject(body)))
    throw new RestError("REST_BODY", "no reply of the API", { status });
}

function jobOf<T>(
  call: RestCall<T>,
  uid: string | undefined,
  onEvent: Observer | undefined,
): Job<RestConnection, T> {
  return {
    send: (connection) => {
      const { name: endpoint, pathPrefix } = connection.address;
      const request: HttpRequest = {
        method: call.method,
        path: pathPrefix + call.path,
        body: call.body,
        maxReplyBytes: call.maxReplyBytes,
      };
      const report = createReport(call.name, request, endpoint, uid, onEvent);
      const sent = connection.send(request);
      const failed = (error: unknown, received?: HttpReply): never => {
        const failure = toProviderError(error);
        report(received, failure);
        throw failure;
      };
      const read = (received: HttpReply): T => {
        let value: T;
        try {
          value = valueOf(call, received, endpoint);
        } catch (error) {
          return failed(error, received);
        }
        report(received);
        return value;
      };
      return { reply: sent.reply.then(read, failed), abort: sent.abort };
    },
    verdict,
    retryAfterMs: (failure) => retryAfterOf.get(failure) ?? 0,
  };
}

/** What Retry-After asked for, of the refusals that have one. */
const retryAfterOf = new WeakMap<ProviderError, number>();

function valueOf<T>(call: RestCall<T>, reply: HttpReply, endpoint: string): T {
  if (reply.status === 200) return call.read(reply, endpoint);
  const page = pageErrorOf(reply, call.name, endpoint);
  if (page !== undefined) throw page;
  const refusal = restErrorOf(reply, call.name, endpoint, call.path);
  const asked = retryAfterMs(reply.headers["retry-after"]);
  if (asked !== undefined) retryAfterOf.set(refusal, asked);
  throw refusal;
}

/** What a refusal means for the connection and the server it came from. */
function verdict(failure: ProviderError, { isFresh, isResumed }: RefusalFacts): Verdict {
  const status = failure instanceof RestError ? failure.status : 0;
  switch (classOfStatus(status)) {
    case "not-now":
      return "retry";
    case "unavailable":
      return "fail-over";
    case "fault":
      return "retry-elsewhere";
    case "request":
      // 401 is of the connection, whose session may have ended; 403 only where the session was resumed.
      return !isFresh && (status === 401 || (status === 403 && isResumed)) ? "reconnect" : "fail";
  }
}

/** Reports one exchange, from the moment that this is called; call the result with what came of it. */
function createReport(
  operation: string,
  { method, path, body }: HttpRequest,
  endpoint: string,
  uid: string | undefined,
  onEvent: Observer | undefined,
): (reply: HttpReply | undefined, failure?: ProviderError) => void {
  const startedAt = performance.now();
  const requestBytes = body?.length ?? 0;
  onEvent?.({
    type: "message",
    direction: "sent",
    endpoint,
    dump: () => `${method} ${path}, ${requestBytes} bytes`,
  });
  return (reply, failure) => {
    const replyBytes = reply?.body.byteLength ?? 0;
    if (reply !== undefined)
      onEvent?.({
        type: "message",
        direction: "received",
        endpoint,
        dump: () => `status ${reply.status}, ${replyBytes} bytes`,
      });
    const requestId = reply === undefined ? undefined : requestIdOf(reply.headers);
    onEvent?.({
      type: "exchange",
      operation,
      endpoint,
      outcome: failure?.code ?? "ok",
      durationMs: performance.now() - startedAt,
      requestBytes,
      replyBytes,
      ...(requestId === undefined ? {} : { requestId }),
      ...(failure === undefined ? {} : { message: failure.message }),
      ...(uid === undefined ? {} : { uid }),
    });
  };
}

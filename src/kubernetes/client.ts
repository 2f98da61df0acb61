/**
 * Requests to the API server: at a limited rate, tried again with a back-off where that can help (network, 429, 5xx;
 * Retry-After is obeyed), with fresh credentials after a 401. Every request that this program makes may be repeated:
 * a no-change PATCH under a resourceVersion changes nothing the second time.
 */
import type { IncomingHttpHeaders } from "node:http";
import { errors, request as send } from "undici";
import { NetworkError, ProviderError, TimeoutError } from "../errors.ts";
import type { Access, Credentials } from "./access.ts";
import { ApiError } from "./api-error.ts";
import { type Pace, pause } from "./pace.ts";

/** One request. */
export interface ApiRequest {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  /** Path and query, as `/api/v1/secrets?limit=500`. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Default: application/json. */
  readonly contentType?: string;
  /** Default: application/json. */
  readonly accept?: string;
}

/** See the file's head. */
export interface ApiClient {
  /** @returns the parsed body. @throws ApiError, NetworkError, TimeoutError, ProviderError CONFIG; the signal's reason */
  request(request: ApiRequest, signal: AbortSignal): Promise<unknown>;
}

/** How {@link createApiClient} retries; durations in ms. */
export interface RetryOptions {
  /** From the first failure on, while the API server is away or overloaded. */
  readonly retryForMs: number;
  /** Tries of a request that the API server fails with a 5xx other than 503: it is there, and the request is at fault. */
  readonly attempts: number;
  readonly backoffMs: { readonly first: number; readonly most: number };
  /** Of one try, and then between two parts of its answer: lists of large objects take the API server some time. */
  readonly replyWithinMs: number;
}

const defaultRetry: RetryOptions = {
  retryForMs: 120_000,
  attempts: 5,
  backoffMs: { first: 250, most: 15_000 },
  replyWithinMs: 60_000,
};
/** The longest that Retry-After is obeyed. */
const longestRetryAfterMs = 60_000;

/** Makes a client. `onRetry` gets what failed and the wait before the next try, in ms. */
export function createApiClient(
  access: Access,
  { pace, userAgent, onRetry, retry = defaultRetry }: ApiClientOptions,
): ApiClient {
  async function attempt(request: ApiRequest, signal: AbortSignal): Promise<unknown> {
    await pace.turn(signal);
    const given = await access.credentials();
    const exchangeAs = (credentials: Credentials): Promise<unknown> =>
      exchange(request, { server: access.server, credentials, userAgent, ...retry }, signal);
    try {
      return await exchangeAs(given);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 401)) throw error;
      return exchangeAs(await access.renewed(given));
    }
  }
  return {
    async request(request, signal) {
      let firstFailureAt: number | undefined;
      for (let count = 1; ; count += 1) {
        try {
          return await attempt(request, signal);
        } catch (error) {
          signal.throwIfAborted();
          if (!(error instanceof ProviderError) || !error.retryable) throw error;
          firstFailureAt ??= performance.now();
          const waitMs = waitAfter(error, count, retry);
          const isOver = performance.now() + waitMs - firstFailureAt > retry.retryForMs;
          if (isOver || (isOwnFailure(error) && count >= retry.attempts)) throw error;
          onRetry?.(error, waitMs);
          await pause(waitMs, signal);
        }
      }
    },
  };
}

/** What {@link createApiClient} is made with. */
export interface ApiClientOptions {
  readonly pace: Pace;
  readonly userAgent: string;
  readonly onRetry?: (error: ProviderError, waitMs: number) => void;
  readonly retry?: RetryOptions;
}

/** A failure of this request rather than of the API server. */
function isOwnFailure(error: ProviderError): boolean {
  return error instanceof ApiError && error.status !== 429 && error.status !== 503;
}

/** Exponential back-off with full jitter; Retry-After, with a jitter of its own, where the API server has sent one. */
function waitAfter(error: ProviderError, count: number, { backoffMs }: RetryOptions): number {
  const asked = error instanceof ApiError ? error.retryAfterMs : undefined;
  if (asked !== undefined) return Math.min(asked, longestRetryAfterMs) + Math.random() * backoffMs.first;
  return Math.random() * Math.min(backoffMs.most, backoffMs.first * 2 ** count);
}

async function exchange(
  { method, path, body, contentType = "application/json", accept = "application/json" }: ApiRequest,
  { server, credentials: { dispatcher, headers }, userAgent, replyWithinMs }: Sender,
  signal: AbortSignal,
): Promise<unknown> {
  const what = `${method} ${path.split("?", 1)[0] ?? ""}`;
  const reply = await read();
  if (reply.status < 200 || reply.status > 299)
    throw new ApiError(what, { ...reply, retryAfter: single(reply.headers["retry-after"]) });
  try {
    return JSON.parse(reply.text) as unknown;
  } catch (cause) {
    throw new ProviderError("REST_BODY", `${what}: the answer is not JSON`, { cause, retryable: true });
  }

  async function read(): Promise<{ status: number; headers: IncomingHttpHeaders; text: string }> {
    try {
      const {
        statusCode,
        headers: replied,
        body: stream,
      } = await send(`${server}${path}`, {
        method,
        dispatcher,
        headers: {
          ...headers,
          accept,
          "user-agent": userAgent,
          ...(body === undefined ? {} : { "content-type": contentType }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        // Not by a signal of each request: its timer would outlive the request, and hold it in memory.
        headersTimeout: replyWithinMs,
        bodyTimeout: replyWithinMs,
        signal,
      });
      return { status: statusCode, headers: replied, text: await stream.text() };
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof errors.HeadersTimeoutError || cause instanceof errors.BodyTimeoutError)
        throw new TimeoutError("response", `${what}: no answer within ${replyWithinMs / 1000} s`, { cause });
      throw lost(what, server, cause);
    }
  }
}

interface Sender extends Pick<RetryOptions, "replyWithinMs"> {
  readonly server: string;
  readonly credentials: Credentials;
  readonly userAgent: string;
}

/** A connection that could not be made or was lost. A certificate that is not trusted stays so. */
function lost(what: string, server: string, cause: unknown): ProviderError {
  const { code = "", message } = cause as { code?: string; message: string };
  if (cause instanceof errors.InvalidArgumentError)
    return new ProviderError("CONFIG", `${what}: ${message}`, { cause });
  if (/CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS/.test(code))
    return new ProviderError(
      "TLS",
      `${server}: ${message}: is the kubeconfig's certificate authority right?`,
      {
        cause,
      },
    );
  return new NetworkError("CONNECT", `${what}: ${server}: ${message === "" ? code : message}`, {
    endpoint: new URL(server).host,
    sent: true,
    cause,
  });
}

function single(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" ? header : header?.[0];
}

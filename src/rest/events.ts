/**
 * What the REST client tells of its work, for log and metrics: the REST part of KmsEvent
 * (encryptors/encryptor.ts), spelled out here so that rest/ stands alone. Holds no secret and no payload.
 */
import type { ErrorCode, ProviderError } from "../errors.ts";
import { type HttpReply, type HttpRequest, requestIdOf } from "./exchange.ts";

/** One request and its reply, or its failure. */
export interface ExchangeEvent {
  readonly type: "exchange";
  /** The call's name, as `encrypt`. */
  readonly operation: string;
  readonly endpoint: string;
  readonly outcome: "ok" | ErrorCode;
  readonly durationMs: number;
  readonly requestBytes: number;
  readonly replyBytes: number;
  readonly requestId?: string;
  readonly message?: string;
  readonly uid?: string;
}

/** How many connections there are, over all servers, by what they do. */
export interface Counts {
  readonly idle: number;
  readonly busy: number;
  readonly connecting: number;
}

/** A connection changed; with the counts after the change. */
export interface ConnectionEvent {
  readonly type: "connection";
  readonly change: "opened" | "closed" | "failed";
  readonly endpoint: string;
  readonly counts: Counts;
  readonly message: string;
  readonly durationMs?: number;
}

/** A server was found to be reachable or not, or another became the one in use. */
export interface EndpointEvent {
  readonly type: "endpoint";
  readonly endpoint: string;
  readonly up: boolean;
  readonly inUse: boolean;
  readonly message?: string;
}

/** A message in outline: method, path, status, sizes. */
export interface MessageEvent {
  readonly type: "message";
  readonly direction: "sent" | "received";
  readonly endpoint: string;
  readonly dump: () => string;
}

/** All of them. */
export type RestEvent = ExchangeEvent | ConnectionEvent | EndpointEvent | MessageEvent;

/** Receives {@link RestEvent}s, synchronously; must not throw. */
export type RestObserver = (event: RestEvent) => void;

/** Tells of one exchange. */
export interface ExchangeReport {
  sent(request: HttpRequest): void;
  /** To be called once, with what there was of a reply and of an error. */
  ended(reply: HttpReply | undefined, error?: ProviderError): void;
}

/** Begins the report on an exchange that was begun at `startedAt`, in ms of `performance.now()`. */
export function createReport(
  call: { readonly name: string },
  endpoint: string,
  startedAt: number,
  uid: string | undefined,
  onEvent: RestObserver,
): ExchangeReport {
  let requestBytes = 0;
  return {
    sent({ method, path, body }) {
      requestBytes = body?.length ?? 0;
      const dump = (): string => `${method} ${path}, ${requestBytes} bytes`;
      onEvent({ type: "message", direction: "sent", endpoint, dump });
    },
    ended(reply, error) {
      const replyBytes = reply?.body.byteLength ?? 0;
      if (reply !== undefined) {
        const dump = (): string => `status ${reply.status}, ${replyBytes} bytes`;
        onEvent({ type: "message", direction: "received", endpoint, dump });
      }
      const refused = reply !== undefined && reply.status !== 200;
      const requestId = reply === undefined ? undefined : requestIdOf(reply.headers);
      const message = error?.message ?? (refused ? `status ${reply.status}` : undefined);
      onEvent({
        type: "exchange",
        operation: call.name,
        endpoint,
        outcome: error?.code ?? (refused ? "REST_STATUS" : "ok"),
        durationMs: performance.now() - startedAt,
        requestBytes,
        replyBytes,
        ...(requestId === undefined ? {} : { requestId }),
        ...(message === undefined ? {} : { message }),
        ...(uid === undefined ? {} : { uid }),
      });
    },
  };
}

/** What the API server says of a failure: a `Status` object (k8s.io/apimachinery, meta/v1), read for what this program decides on. */
import * as v from "valibot";
import { RestError } from "../errors.ts";
import { quoteReply } from "../text/quote.ts";

/** The API server answered with an error. `message` names the request and holds the server's words, bounded and on one line. */
export class ApiError extends RestError {
  /** As `NotFound`, `Conflict`, `Expired`; empty where the answer has none. */
  readonly reason: string;
  /** With 410: the token with which the list goes on behind the last object read, at the newest revision. */
  readonly continueToken: string | undefined;
  /** From Retry-After, in ms; undefined where there was none. */
  readonly retryAfterMs: number | undefined;

  constructor(request: string, reply: ErrorReply) {
    const parsed = v.safeParse(statusShape, parseJson(reply.text));
    const { message, reason, metadata } = parsed.success ? parsed.output : {};
    // What is said of an invalid object may quote its fields.
    const isAboutContent = reply.status === 400 || reply.status === 422;
    const said =
      message === undefined || message === "" || isAboutContent
        ? ""
        : `: ${quoteReply(message, 400).slice(1, -1)}`;
    super("REST_STATUS", `${request}: ${reply.status}${reason === undefined ? "" : ` ${reason}`}${said}`, {
      status: reply.status,
      retryable: isTransient(reply.status),
    });
    this.reason = reason ?? "";
    this.continueToken = metadata?.continue === "" ? undefined : metadata?.continue;
    this.retryAfterMs = parseRetryAfter(reply.retryAfter);
  }
}

/** What a server says, on one line, bounded, and without the values of fields that a validation quotes. */
export function oneLine(message: string): string {
  return quoteReply(message.replace(/((?:Invalid|Unsupported|Duplicate) value): [\s\S]*$/, "$1"), 400).slice(
    1,
    -1,
  );
}

/** An answer that is no success. */
export interface ErrorReply {
  readonly status: number;
  readonly text: string;
  /** The header, as it was sent. */
  readonly retryAfter: string | undefined;
}

/** Whether the same request may succeed later. */
function isTransient(status: number): boolean {
  return status === 429 || status >= 500;
}

const statusShape = v.object({
  kind: v.literal("Status"),
  message: v.optional(v.string()),
  reason: v.optional(v.string()),
  metadata: v.optional(v.object({ continue: v.optional(v.string()) })),
});

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Seconds or an HTTP date, in ms from now. */
function parseRetryAfter(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

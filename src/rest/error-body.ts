/**
 * An error reply of the OKMS REST API as a RestError: the packed error_code taken apart, the messages cut and
 * cleared of anything that could be a payload. Any body will do: what is not an error body costs only detail.
 */
import * as v from "valibot";
import { type ErrorDetails, RestError } from "../errors.ts";
import { shownIdentifier, withoutPayload } from "../text/untrusted.ts";
import { type HttpReply, requestIdOf } from "./connection.ts";
import { classOfStatus } from "./statuses.ts";

/** The parts of `error_code`. */
export interface ErrorCodeParts {
  /** Bits 24 to 31. */
  readonly system: number;
  /** Bits 16 to 23. */
  readonly component: number;
  /** Bits 12 to 15, in words where known, as `authorization`. */
  readonly category: string;
  /** Bits 0 to 11. */
  readonly detail: number;
}

const categories: Readonly<Record<number, string>> = {
  2: "argument",
  3: "authentication",
  4: "authorization",
  5: "not found",
  7: "unavailable",
  9: "too many requests",
};

/** Takes `error_code` apart. Undefined where it is no 32-bit number. */
export function decodeErrorCode(code: number): ErrorCodeParts | undefined {
  if (!Number.isInteger(code) || code < 0 || code > 0xff_ff_ff_ff) return undefined;
  const category = (code >>> 12) & 0xf;
  return {
    system: code >>> 24,
    component: (code >>> 16) & 0xff,
    category: categories[category] ?? `category ${category}`,
    detail: code & 0xfff,
  };
}

const errorBody = v.object({
  error_code: v.fallback(v.optional(v.number()), undefined),
  error_id: v.fallback(v.optional(v.string()), undefined),
  request_id: v.fallback(v.optional(v.string()), undefined),
  errors: v.fallback(v.optional(v.array(v.unknown())), undefined),
});

/**
 * The error that a reply of another status than 200 is.
 * @param call the call's name, as `encrypt`
 * @param endpoint `host:port`
 * @param path the call's path, whose identifiers may be shown where the API's words name them. Default: none are shown.
 */
export function restErrorOf(reply: HttpReply, call: string, endpoint: string, path = ""): RestError {
  const parsed = v.safeParse(errorBody, parseJson(reply.body));
  const body = parsed.success ? parsed.output : {};
  const code = body.error_code === undefined ? undefined : decodeErrorCode(body.error_code);
  const said = messagesOf(body.errors ?? [], path.split("/"));
  const words = [`${call} answered by ${endpoint} with status ${reply.status}${meaningOf(reply.status)}`];
  if (code !== undefined) words.push(`(${code.category})`);
  if (isHtml(reply)) words.push("and an HTML page, as of a proxy or a load balancer");
  return new RestError("REST_STATUS", words.join(" ") + (said === "" ? "" : `: ${said}`), {
    status: reply.status,
    requestId: shownIdentifier(body.request_id) ?? requestIdOf(reply.headers),
    retryable: reply.status >= 500 || classOfStatus(reply.status) === "not-now",
    details: { ...code, ...detailsOf(body.error_id, said), call, endpoint },
  });
}

function detailsOf(errorId: string | undefined, said: string): ErrorDetails {
  return { errorId: shownIdentifier(errorId), errors: said === "" ? undefined : said };
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** JSON of UTF-8 bytes; undefined where they are neither. */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}

/** Whether bytes are a JSON object, as every reply of the API is that has a body. */
export function isJsonObject(bytes: Uint8Array): boolean {
  const parsed = parseJson(bytes);
  return typeof parsed === "object" && parsed !== null;
}

/** Whether a reply is a page for people: the API sends JSON only. */
export function isHtml({ body }: HttpReply): boolean {
  return /^\s*<(?:!doctype|html)/i.test(Buffer.from(body.subarray(0, 256)).toString("latin1"));
}

/** A refusal that is another's than the API's, as a proxy's page is, as REST_BODY; undefined for one of the API. */
export function pageErrorOf(reply: HttpReply, call: string, endpoint: string): RestError | undefined {
  const { status, body, headers } = reply;
  if (classOfStatus(status) !== "request" || body.length === 0 || isJsonObject(body)) return undefined;
  const message = `${call} answered by ${endpoint} with status ${status} and a page that is not the API's`;
  return new RestError("REST_BODY", message, { status, requestId: requestIdOf(headers) });
}

function meaningOf(status: number): string {
  if (status === 421) return ", for it does not serve the name of --serv-addr or --serv-name";
  if (status < 300) return ", which is no answer of the API";
  return status < 400 ? ", a redirect, which is never followed" : "";
}

/** The messages in one line of at most 256 characters. */
function messagesOf(errors: readonly unknown[], names: readonly string[]): string {
  const texts = errors.slice(0, 8).filter((one) => typeof one === "string");
  const line = texts.map((text) => plain(text.slice(0, 1_024), names)).join("; ");
  return line.slice(0, 256);
}

/** On one line, and cleared of what it may quote. */
function plain(text: string, names: readonly string[]): string {
  return withoutPayload(text.replaceAll(/[^\x20-\x7e]+/g, " ").trim(), names);
}

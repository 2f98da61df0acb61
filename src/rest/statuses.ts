/** What an HTTP status says of the server and of the request, and Retry-After (RFC 9110, 10.2.3) in both of its forms. */

/**
 * `not-now`: the same request may succeed later. `unavailable`: the server cannot serve now, another may. `fault`: the server
 * is out of order, or is not the API, which has no success but 200; no wait helps. `request`: the request is refused.
 */
export type StatusClass = "not-now" | "unavailable" | "fault" | "request";

const notNow: ReadonlySet<number> = new Set([408, 421, 425, 429]);
const unavailable: ReadonlySet<number> = new Set([502, 503, 504]);

/** The class of a status other than 200. 500 is a fault: it is no state that passes. */
export function classOfStatus(status: number): StatusClass {
  if (notNow.has(status)) return "not-now";
  if (unavailable.has(status)) return "unavailable";
  return status < 400 || status >= 500 ? "fault" : "request";
}

/**
 * Reads Retry-After: seconds, or a date.
 * @returns milliseconds from now, at least 0; undefined where there is none, or none that can be read
 */
export function retryAfterMs(header: unknown, now: number = Date.now()): number | undefined {
  if (typeof header !== "string") return undefined;
  const text = header.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  // Only the dates of RFC 9110: Date.parse alone takes "-5" and much else.
  if (!/^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text)) return undefined;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/**
 * When to try again: jittered back-off, and Retry-After (RFC 9110, 10.2.3) in both of its forms.
 * Whether there is time left for it is the client's affair.
 */

const firstDelayMs = 100;
/** After a reply: the server asks for less. */
const longestDelayMs = 1_000;
/** After a connection that failed: nobody is burdened, and somebody waits whenever there is a pause. */
const longestRedialMs = 250;

/**
 * The pause before the next try: 100 ms, doubled up to 1 s (250 ms where it was the connection that failed), of which
 * a random half to whole.
 * @param failures how many tries have failed, from 1
 */
export function backoffMs(
  failures: number,
  after: "connection" | "reply",
  random: () => number = Math.random,
): number {
  const longest = after === "reply" ? longestDelayMs : longestRedialMs;
  const whole = Math.min(longest, firstDelayMs * 2 ** (failures - 1));
  return whole * (0.5 + random() / 2);
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

const passingStatuses: ReadonlySet<number> = new Set([408, 421, 425, 429, 502, 503, 504]);

/** Replies after which the same request may succeed. 500 is not among them: it is a fault, not a state. */
export function isPassingStatus(status: number): boolean {
  return passingStatuses.has(status);
}

/** Replies of something that is out of order, or is not the API, and that no wait will mend. */
export function isFault(status: number): boolean {
  return !isPassingStatus(status) && ((status >= 300 && status < 400) || status >= 500);
}

/** Replies that speak of the request, where they are the API's. */
export function isAboutRequest(status: number): boolean {
  return !isPassingStatus(status) && !isFault(status);
}

/** Replies that speak of the server rather than of the request: another server may do better. */
export function isServerTrouble(status: number): boolean {
  return status === 502 || status === 503 || status === 504;
}

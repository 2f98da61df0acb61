/** What servers say of a failure, made fit for a log: a server may quote what it was sent, and that is a plaintext. */

const uuid = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i;

/** Hexadecimal or base64 in one piece. */
const unbroken = /[\w+/=-]{20,}/g;
/** Eight bytes or more, each by itself: `\xc3\xa1…`, `[195 161 …]`, `0xc3, 0xa1, …`, `c3:a1:…`, with signs as in Java. */
const byByte = /(?:(?:\\x|\\u00|%|\b0x|\b|-)[\da-f]{1,3}\b[\s,;:]*){8,}/gi;
/** A text between quotes in which bytes are escaped, as Python and Go print those that are no letters. */
const escaped = /(["'`])(?:(?!\1).)*\\(?:x[\da-f]{2}|u[\da-f]{4}|[0-7]{3})(?:(?!\1).)*\1?/gi;

/** Replaces whatever may be as long as a payload, in hexadecimal, base64 or byte by byte, by its length; a UUID is none. */
export function withoutPayload(text: string): string {
  return text
    .replaceAll(escaped, lengthOf)
    .replaceAll(byByte, lengthOf)
    .replaceAll(unbroken, (run) => (uuid.test(run) ? run : lengthOf(run)));
}

function lengthOf(run: string): string {
  return `[${run.length} characters]`;
}

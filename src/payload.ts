/** What servers say of a failure, made fit for a log: a server may quote what it was sent, and that is a plaintext. */

const uuid = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i;

/** Replaces whatever is as long as a payload, in hexadecimal or base64, by its length; a UUID is none. */
export function withoutPayload(text: string): string {
  return text.replaceAll(/[\w+/=-]{20,}/g, (run) => (uuid.test(run) ? run : `[${run.length} characters]`));
}

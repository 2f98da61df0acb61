/** Text that was given from outside, made safe for a message or a log line: one line, bounded, and no key in it. */

/**
 * Cut off or whole; base64 of one, as the data of a Kubernetes Secret is; or what stands between the lines of a private
 * key, by the version that begins each kind (PKCS #1 and #8, SEC 1).
 */
const anyPem =
  /-----BEGIN [A-Z0-9 ]+-----[\s\S]*?(?:-----END [A-Z0-9 ]+-----|$)|LS0tLS1CRUdJTi[\w+/=\n]*|\bM(?:C4CAQ|H[cQ]CAQ|I[GH].AgE|II...IBA)[\w+/=\s]{16,}/g;

/** The text with every PEM in it replaced by `[PEM]`: for whatever is printed, lest a key be. */
export function redactPem(text: string): string {
  return text.replaceAll(anyPem, "[PEM]");
}

/** A value as part of a complaint: on one line, without control characters or a PEM, at most `most` characters of it. */
export function quote(text: string, most = 120): string {
  const safe = redactPem(text);
  const cut = safe.length > most ? `${safe.slice(0, most)}…` : safe;
  return JSON.stringify(cut);
}

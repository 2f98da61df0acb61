/** Names out of etcd on a terminal: a snapshot may come from anybody, and a name of it may hold escape sequences. */

/** The text on one line, without control characters or what turns the direction of writing. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "\uFFFD");
}

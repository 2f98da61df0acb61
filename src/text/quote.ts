/** Text that was given from outside, made safe for a message or a log line: one line, bounded, and no key in it. */

/**
 * Cut off or whole; base64 of one, as the data of a Kubernetes Secret is; or what stands between the lines of a private
 * key, by the version that begins each kind (PKCS #1 and #8, SEC 1).
 */
const anyPem =
  /-----BEGIN [A-Z0-9 ]+-----[\s\S]*?(?:-----END [A-Z0-9 ]+-----|$)|LS0tLS1CRUdJTi[\w+/=\n]*|\bM(?:C4CAQ|H[cQ]CAQ|I[GH].AgE|II...IBA)[\w+/=\s]{16,}/g;

/** The text with every PEM in it replaced by `[PEM]`: for everything that is printed, so that no key is. */
export function redactPem(text: string): string {
  return text.replaceAll(anyPem, "[PEM]");
}

/** Longest value, and longest path, that a message shows. */
const maxShown = 120;
const maxPathShown = 1024;
/** Members of a JSON Web Key that are secret (RFC 7518, section 6), quoted or not. */
const jwk = /\bkty\b|["'](?:d|k|dp|dq|qi)["']\s*:/;
const uuids = /\b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b/gi;
/** 16 bytes or more in hexadecimal, in one piece or byte by byte. */
const hex = /(?:(?:0x|\\x)?[\da-f]{2}[\s:,-]*){16,}/i;
/** As long as 16 bytes in base64 or base64url. */
const base64 = /[\w+/-]{22,}={0,2}/g;

/**
 * Whether a text may hold key material: a PEM, a JSON Web Key, or 16 bytes and more in hexadecimal or base64. UUIDs and
 * paths of ordinary names do not.
 */
export function looksLikeKey(text: string): boolean {
  if (isPemOrJwk(text)) return true;
  if (isPath(text)) return false;
  const plain = text.replaceAll(uuids, "");
  return hex.test(plain) || (plain.match(base64) ?? []).some(isRandom);
}

/** Whether a text holds a PEM or a JSON Web Key, which is nothing else. */
export function isPemOrJwk(text: string): boolean {
  return redactPem(text) !== text || jwk.test(text);
}

/** Absolute, or from this folder, the home or the one above; base64 can begin with a slash, and goes on in capitals. */
function isPath(text: string): boolean {
  return /^(?:\.{1,2}|~)?\/[a-z0-9._-]*(?:\/|$|[a-z0-9._ -]{0,40}$)/.test(text);
}

/** Random bytes mix capitals, small letters and digits within a segment; words do not. */
function isRandom(run: string): boolean {
  if (run.endsWith("=")) return true;
  const segments = run.split(/[/_-]/).filter((segment) => segment.length >= 8);
  const mixed = segments.filter((one) => /[a-z]/.test(one) && /[A-Z]/.test(one) && isJumbled(one));
  return run.includes("+") ? mixed.length > 0 : mixed.some(({ length }) => length >= 16) || mixed.length > 1;
}

/** With digits, or with capitals more often than words that are written together have them. */
function isJumbled(segment: string): boolean {
  const changes = segment.match(/(?<=[a-z])[A-Z]|(?<=[A-Z])[a-z]/g)?.length ?? 0;
  return /\d/.test(segment) || changes > segment.length * 0.36;
}

/**
 * A value as part of a message: on one line and without control characters. What may be a key is not shown, nor what is
 * long and no path.
 */
export function quote(text: string): string {
  const isShown =
    !looksLikeKey(text) && (text.length <= maxShown || (isPath(text) && text.length <= maxPathShown));
  return isShown ? escaped(text) : `(${text.length} characters, not shown)`;
}

/** As JSON, and without what breaks a line or turns it around. */
function escaped(text: string): string {
  return JSON.stringify(text).replaceAll(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/**
 * What a program said, as a key_id or a status: on one line, without a PEM, at most `most` characters of it. Not for
 * what a user gave, which may be a key.
 */
export function quoteReply(text: string, most = maxShown): string {
  const safe = redactPem(text);
  return escaped(safe.length > most ? `${safe.slice(0, most)}…` : safe);
}

/** A path as part of a message: as it is, where it is short and plain; else as {@link quote} shows it. */
export function quotePath(file: string): string {
  return /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(file) || quote(file).startsWith("(") ? quote(file) : file;
}

/** A word for a shell, quoted where need be: for commands that a message advises. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

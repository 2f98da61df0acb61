/**
 * What a server says of a failure, made fit for a log: a server may quote what it was sent, and that is a plaintext.
 * Only what looks like a word passes, and the names given; everything else is replaced by its length. So no spelling
 * of bytes needs to be known: hexadecimal, base64, octal, decimal, whole or in pieces.
 */

/**
 * Words of four letters and fewer, for pieces of hexadecimal and base64 look like words; and a few that are longer and have
 * an unusual pair of letters.
 */
const listedWords: ReadonlySet<string> = new Set(
  `a ab above ad add after age all also am an and any are as ask at auth away back bad base be been bit bits block body both
  but by byte call can cannot cause cert code copy core data date day days dead deny did do does doesn done down due
  each edit else end ends enum eof even ever exit fail few file find fix flag for form free from full gave get gets
  give gmt go goes gone good got had half has hash have he head help her here high hint his host how if in info input
  into is isn it item its job jwe jwt just keep kept kek key keys kind know lack last late left less let life like limit
  line link list live load lock log long look lost low made mac main make many mask may me mean meet met min mode more
  most must my name near need new next no node non none nor not note now null of off ok old on once one only onto op
  open or order our out over own page part past path peer per plan pool port post put read real rest role root row
  rule run safe same say see seen send sent set sets shut side sign site size slot so some soon sort spec step stop
  such tag tags take task tell term test text than that the them then they this tier till time to told too tool top
  try turn two type rate disk sync idle card quit lock bind boot drop fill hang hold hope hour hung join jump kept mark math mute mode pass pick poor pull push race rank rare raw rely sort soft stay stop stub swap team thin tiny trim true truth vary verb very view vote weak whole unit up upon us use used user uses via wait want was way we week well went were what when whom
  wide will wish with word work yes yet you your zero zone
  acl aead aes aik api asn ca cbc ccm cn crc crl csr dek der dh dn dns ec ecb ecdh ekm fips gcm gmac http hsm iam id
  ids io ip iv jce json kms kmip kdf ksv kv kwp ldap md mtls nist oaep oid okms ovh pem pin pkcs pki qat rbac rng rpc
  already always lengths localhost loopback proxy subkey throughput
  rsa sdk sha sni sql ssl sso tcp tde tls ttl ttlv uid uri url utf uuid xml xts`.split(/\s+/),
);

/**
 * The letters that may follow a letter in an English word: of `bacd`, `a`, `c` and `d` may follow `b`. Six letters at
 * random pass in one case of ten, and most that are no word do not.
 */
const pairs: ReadonlySet<string> = new Set(
  `abcdefghiklmnprstuvwxy babcdeijlmnoprstuvy cacdeghiklmnopqrstuy dabcdefgijlmnoprstuvwy
  eabcdefghijklmnopqrstuvwxyz fadefilmoprstuy gacefghilmnoprstuy hadeilmnorstuy iabcdefghjklmnopqrstvxz jaeiou
  kabdegilnopstuwy labcdefgiklnopstuvy mabcdefiklmnopstuy nabcdefghijklmnopqrstuvwy oabcdefghijklmnoprstuvwxyz
  pacdefghiklmnoprstuy qu rabcdefghiklmnoprstuvwy sacdefghiklmnopqrstuwy tabcdefghilmnoprstuvwxyz
  uabcdefgilmnoprst vaceio waehilnors xacehimpt yabcdegilmnoprstwz zaeio`
    .split(/\s+/)
    .flatMap(([first = "", ...next]) => next.map((second) => first + second)),
);

/** No word of a server's message is longer; more letters in a row are some spelling of bytes. */
const longestWord = 20;
/** A word of at most so many letters between two things that are no words is hidden with them. */
const longestBetween = 8;
/** Likewise several words, as of bytes that are printed one by one. */
const mostBetween = 3;
const longestOfSeveral = 4;

const manyConsonants = /^[bcdfghjklmnpqrstvwxz]{4}|[bcdfghjklmnpqrstvwxz]{5}/;
const oneCase = /^(?:[a-z]+|[A-Z][a-z]*|[A-Z]+)$/;
/** What words may be joined by, as in `client/server`, `Item-Not-Found`, `can't`. */
const joints = /[-_/.':=&]/;
/** The end of `can't` and `it's`. */
const shortForm = /(?<=[a-z])'(?:t|s|re|ve|ll)$/;

function isWord(text: string): boolean {
  if (!oneCase.test(text) || text.length > longestWord) return false;
  const word = text.toLowerCase();
  if (text.length <= 4 || listedWords.has(word)) return listedWords.has(word);
  if (manyConsonants.test(word)) return false;
  return Array.from(word.slice(1), (letter, at) => word.charAt(at) + letter).every((pair) => pairs.has(pair));
}

/** Part of a text: `open` passes, `hidden` does not; `between` is white space and punctuation, and passes. */
interface Part {
  readonly kind: "open" | "name" | "hidden" | "between";
  readonly text: string;
}

const opening = /^[("'`[{<]{0,4}/;
const closing = /[)"'`\]}>.,;:!?]{0,4}$/;

/** One run of characters without white space. */
function partsOfToken(token: string): Part[] {
  const before = opening.exec(token)?.[0] ?? "";
  const rest = token.slice(before.length);
  const after = closing.exec(rest)?.[0] ?? "";
  const core = rest.slice(0, rest.length - after.length);
  const isOpen = core
    .replace(shortForm, "")
    .split(joints)
    .every((piece) => piece === "" || isWord(piece));
  const parts: Part[] = [
    { kind: "between", text: before },
    { kind: isOpen ? "open" : "hidden", text: core },
    { kind: "between", text: after },
  ];
  return parts.filter(({ text }) => text !== "");
}

/** Splits into white space, punctuation, words and what is none; the names given stay whole. */
function partsOf(text: string, names: readonly string[]): Part[] {
  const parts: Part[] = [];
  const longestFirst = names.filter((name) => name !== "").toSorted((a, b) => b.length - a.length);
  const alternatives = longestFirst
    .map((name) => name.replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`))
    .join("|");
  const named =
    alternatives === "" ? undefined : new RegExp(`(?<![\\p{L}\\d])(${alternatives})(?![\\p{L}\\d])`, "u");
  const pieces = named === undefined ? [text] : text.split(named);
  for (const [index, piece] of pieces.entries()) {
    if (index % 2 === 1) parts.push({ kind: "name", text: piece });
    else
      for (const token of piece.split(/(\s+)/)) {
        if (token === "") continue;
        if (/^\s/.test(token)) parts.push({ kind: "between", text: token });
        else parts.push(...partsOfToken(token));
      }
  }
  return parts;
}

/** The next part that is more than punctuation, from `at` on; where it is. */
function nextContent(parts: readonly Part[], at: number): number {
  let next = at;
  while (parts[next]?.kind === "between") next += 1;
  return next;
}

/** Where the run of hidden parts that begins at `start` ends: short words between two hidden parts belong to it. */
function endOfRun(parts: readonly Part[], start: number): number {
  let end = start;
  for (;;) {
    const next = nextHidden(parts, end + 1);
    if (next === undefined) return end;
    end = next;
  }
}

/** The next hidden part, where nothing but punctuation, one short word or a few very short ones stand before it. */
function nextHidden(parts: readonly Part[], from: number): number | undefined {
  let longest = 0;
  let words = 0;
  for (let at = nextContent(parts, from); ; at = nextContent(parts, at + 1)) {
    const part = parts[at];
    if (part?.kind === "hidden") return at;
    if (part?.kind !== "open") return undefined;
    words += 1;
    longest = Math.max(longest, part.text.length);
    if (longest > longestBetween || (words > 1 && longest > longestOfSeveral) || words > mostBetween)
      return undefined;
  }
}

/**
 * The text with everything in it replaced by its length that is neither a word nor one of `names`.
 * @param names what may be shown as it is: identifiers and names from the configuration or the request.
 */
export function withoutPayload(text: string, names: readonly string[] = []): string {
  const parts = partsOf(text, names);
  let shown = "";
  for (let at = 0; at < parts.length; at += 1) {
    const part = parts[at];
    if (part?.kind !== "hidden") {
      shown += part?.text ?? "";
      continue;
    }
    const end = endOfRun(parts, at);
    const length = parts.slice(at, end + 1).reduce((sum, each) => sum + each.text.length, 0);
    shown += `[${length} characters]`;
    at = end;
  }
  return shown;
}

/**
 * An identifier that a server made up, as that of a request: undefined where it may be anything else. At most as long as a
 * UUID: no spelling of the 32 bytes of a seed is as short.
 */
export function shownIdentifier(text: string | undefined): string | undefined {
  return text !== undefined && /^[\w.:-]{1,36}$/.test(text) ? text : undefined;
}

/**
 * Looks for secrets in a text, in every form that a careless line of code would give them: hexadecimal, base64 (inside
 * a longer one too), lists of numbers, and characters, escaped or not. Eight bytes in a row count as found.
 */

/** Bytes that must not be printed. */
export interface Secret {
  /** Told in place of the bytes. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

const windowBytes = 8;

/** A form: what is looked for in the text, and what the text is turned into before. */
interface Form {
  readonly name: string;
  readonly view: (text: string) => string;
  /** How a part of a secret that begins at `at` looks. */
  readonly looks: (part: Buffer, at: number) => readonly string[];
}

const forms: readonly Form[] = [
  {
    name: "hexadecimal",
    // Whatever stands between the bytes: spaces, colons, 0x, \x, %.
    view: (text) =>
      text
        .toLowerCase()
        .replaceAll("0x", "")
        .replaceAll(/[^0-9a-f]/g, ""),
    looks: (part) => [part.toString("hex")],
  },
  {
    name: "base64",
    view: (text) =>
      text
        .replaceAll("-", "+")
        .replaceAll("_", "/")
        .replaceAll(/\\n|\s/g, ""),
    looks: (part) => [0, 1, 2].map((shift) => insideBase64(part, shift)),
  },
  {
    name: "a list of numbers",
    view: (text) => text.replaceAll(/\\n|\s/g, ""),
    looks: (part, at) => [
      part.subarray(1, -1).join(","),
      [...part].map((byte, index) => `"${at + index}":${byte}`).join(","),
    ],
  },
  {
    name: "characters",
    view: (text) => text,
    looks: (part) => [part.toString("latin1")],
  },
  {
    name: "escaped characters",
    view: unescape,
    looks: (part) => [part.toString("latin1")],
  },
];

/** The characters that do not depend on what stands before and after, `shift` bytes into a group of three. */
function insideBase64(part: Buffer, shift: number): string {
  const whole = Buffer.concat([Buffer.alloc(shift), part]).toString("base64");
  return whole.slice(Math.ceil((shift * 8) / 6), Math.floor(((shift + part.length) * 8) / 6));
}

const controls: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

/** Undoes \u0041, \x41, \101, \n and %41, however often the backslashes were doubled. */
function unescape(text: string): string {
  return text
    .replaceAll(/\\+/g, "\\")
    .replaceAll(/\\u([0-9a-f]{4})|\\x([0-9a-f]{2})|%([0-9a-f]{2})/gi, (_, ...hex: (string | undefined)[]) =>
      String.fromCharCode(Number.parseInt(hex.find((digits) => digits !== undefined) ?? "", 16)),
    )
    .replaceAll(/\\([0-3][0-7]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
    .replaceAll(/\\([bfnrt])/g, (_, letter: string) => controls[letter] ?? "")
    .replaceAll(/\\(["'\\/])/g, "$1");
}

/** Which secrets are in the text, as `seed 1 in base64`; never the secrets themselves. */
export function findSecrets(text: string, secrets: readonly Secret[]): string[] {
  const found = new Set<string>();
  for (const { name, view, looks } of forms) {
    const seen = view(text);
    for (const secret of secrets)
      if (windowsOf(secret).some(([part, at]) => looks(part, at).some((look) => seen.includes(look))))
        found.add(`${secret.name} in ${name}`);
  }
  return [...found];
}

/** Side by side: fifteen bytes in a row hold a whole one. */
function windowsOf({ name, bytes }: Secret): [part: Buffer, at: number][] {
  if (bytes.length < windowBytes) throw new Error(`${name} is too short to be looked for`);
  const count = Math.floor(bytes.length / windowBytes);
  return Array.from({ length: count }, (_, index) => {
    const at = index * windowBytes;
    return [Buffer.from(bytes.subarray(at, at + windowBytes)), at];
  });
}

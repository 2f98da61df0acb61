/**
 * How programs print bytes: the ways in which a KMS may quote a plaintext in an error message. Each gives a text from
 * which the bytes can be read again.
 */

type Spell = (bytes: Buffer) => string;

const pieces = (text: string, size: number): string[] => text.match(new RegExp(`.{1,${size}}`, "gs")) ?? [];
const hex = (bytes: Buffer): string[] => pieces(bytes.toString("hex"), 2);
const each = (bytes: Buffer, write: (byte: number) => string, between = ""): string =>
  [...bytes].map((byte) => write(byte)).join(between);
const alphabet32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

function inBase(bytes: Buffer, alphabet: string): string {
  const base = BigInt(alphabet.length);
  let rest = BigInt(`0x${bytes.toString("hex")}`);
  let text = "";
  for (; rest > 0n; rest /= base) text = `${alphabet[Number(rest % base)]}${text}`;
  return text;
}

function pythonByte(byte: number): string {
  if (byte > 0x20 && byte < 0x7f && byte !== 0x27 && byte !== 0x5c) return String.fromCharCode(byte);
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}

function printable(byte: number, escape: (byte: number) => string): string {
  return /[\w ]/.test(String.fromCharCode(byte)) && byte < 0x80 ? String.fromCharCode(byte) : escape(byte);
}

const two = (byte: number): string => byte.toString(16).padStart(2, "0");
const digits58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const digits85 = `0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_\`{|}~`;

const named: [string, Spell][] = [
  ["as Python prints bytes", (bytes) => `b'${each(bytes, pythonByte)}'`],
  ["as Go prints a slice", (bytes) => `[${[...bytes].join(" ")}]`],
  [
    "as Go quotes a string",
    (bytes) => `"${each(bytes, (byte) => printable(byte, (one) => `\\x${two(one)}`))}"`,
  ],
  ["as Java prints an array", (bytes) => `[${[...Int8Array.from(bytes)].join(", ")}]`],
  ["as C# prints an array", (bytes) => bytes.toString("hex").toUpperCase().match(/../g)?.join("-") ?? ""],
  ["as JSON has an array", (bytes) => JSON.stringify([...bytes])],
  ["as a JSON Buffer", (bytes) => JSON.stringify(bytes)],
  ["as Node prints a Buffer", (bytes) => `<Buffer ${hex(bytes).join(" ")}>`],
  ["as Rust prints a slice", (bytes) => `[${[...bytes].join(", ")}]`],
  ["as C has an array", (bytes) => `{ ${each(bytes, (byte) => `0x${two(byte)}`, ", ")} }`],
  ["as Erlang prints a binary", (bytes) => `<<${[...bytes].join(",")}>>`],
  ["as PostgreSQL prints bytea", (bytes) => `\\x${bytes.toString("hex")}`],
  ["as SQL has a literal", (bytes) => `X'${bytes.toString("hex").toUpperCase()}'`],
  ["in per cent", (bytes) => each(bytes, (byte) => `%${two(byte)}`)],
  ["as a URL has it", (bytes) => each(bytes, (byte) => printable(byte, (one) => `%${two(one)}`))],
  ["in \\u escapes", (bytes) => each(bytes, (byte) => `\\u00${two(byte)}`)],
  ["in octal escapes", (bytes) => each(bytes, (byte) => `\\${byte.toString(8).padStart(3, "0")}`)],
  ["in octal, with spaces", (bytes) => each(bytes, (byte) => byte.toString(8), " ")],
  [
    "in octal, as od prints it",
    (bytes) => `0000000 ${each(bytes, (byte) => byte.toString(8).padStart(3, "0"), " ")}`,
  ],
  ["in binary", (bytes) => each(bytes, (byte) => byte.toString(2).padStart(8, "0"), " ")],
  ["in binary, in one piece", (bytes) => each(bytes, (byte) => byte.toString(2).padStart(8, "0"))],
  ["in HTML entities", (bytes) => each(bytes, (byte) => `&#${byte};`)],
  [
    "in quoted-printable",
    (bytes) => each(bytes, (byte) => printable(byte, (one) => `=${two(one).toUpperCase()}`)),
  ],
  ["as one decimal number", (bytes) => inBase(bytes, "0123456789")],
  ["as one decimal number in groups", (bytes) => pieces(inBase(bytes, "0123456789"), 3).join(",")],
  ["in base 32", (bytes) => inBase(bytes, alphabet32)],
  [
    "in base 32, lower case, in eights",
    (bytes) => pieces(inBase(bytes, alphabet32.toLowerCase()), 8).join(" "),
  ],
  ["in base 36", (bytes) => inBase(bytes, "0123456789abcdefghijklmnopqrstuvwxyz")],
  ["in base 58", (bytes) => inBase(bytes, digits58)],
  ["in base 85", (bytes) => inBase(bytes, digits85)],
  ["in letters for nibbles", (bytes) => inBase(bytes, "abcdefghijklmnop")],
  ["in letters for nibbles, in fours", (bytes) => pieces(inBase(bytes, "abcdefghijklmnop"), 4).join(" ")],
  ["as UUIDs", (bytes) => uuids(bytes).join(" ")],
  ["as Latin-1 text", (bytes) => bytes.toString("latin1")],
  ["as UTF-8 text with what is none replaced", (bytes) => bytes.toString("utf8")],
  ["as UTF-16 text", (bytes) => bytes.toString("utf16le")],
  ["reversed", (bytes) => Buffer.from(bytes).toReversed().toString()],
  ["as hexadecimal with 0x", (bytes) => `0x${bytes.toString("hex")}`],
  ["as an IPv6 address or two", (bytes) => pieces(pieces(bytes.toString("hex"), 4).join(":"), 39).join(" ")],
  [
    "as xxd prints it",
    (bytes) =>
      pieces(bytes.toString("hex"), 32)
        .map((line, at) => `000000${at}0: ${pieces(line, 4).join(" ")}`)
        .join("\n"),
  ],
];

function uuids(bytes: Buffer): string[] {
  return pieces(bytes.toString("hex"), 32).map((text) =>
    text.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"),
  );
}

const separators = [" ", ":", "-", ", ", ".", "/", "_", "\n", "|"];
const inPieces = (form: "hex" | "base64" | "base64url", sizes: readonly number[]): [string, Spell][] =>
  sizes.flatMap((size) =>
    separators.map((separator): [string, Spell] => [
      `in ${form}, ${size} characters at a time, with ${JSON.stringify(separator)} between`,
      (bytes) => pieces(bytes.toString(form), size).join(separator),
    ]),
  );

/** Each way with its name. */
export const spellings: readonly (readonly [how: string, spell: Spell])[] = [
  ...(["hex", "base64", "base64url"] as const).map((form): [string, Spell] => [
    `in ${form}`,
    (bytes) => bytes.toString(form),
  ]),
  ["in hex, upper case", (bytes) => bytes.toString("hex").toUpperCase()],
  ...named,
  ...inPieces("hex", [1, 2, 4, 8, 16]),
  ...inPieces("base64", [1, 2, 3, 4, 8, 16]),
  ...inPieces("base64url", [4]),
];

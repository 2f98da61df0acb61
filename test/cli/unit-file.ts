/**
 * A strict reader of systemd unit files, for tests: sections, assignments and continued lines (systemd.syntax(7)),
 * and the splitting and unescaping of ExecStart= (systemd.service(5)). Throws where systemd would warn.
 */

/** A unit, read. */
export interface Unit {
  /** Every value of the key, in order; none where it is not set. */
  get(section: string, key: string): readonly string[];
}

/** Reads a unit. @throws Error at the first line that is not as it must be */
export function parseUnit(text: string): Unit {
  const values = new Map<string, string[]>();
  let section = "";
  for (const line of joinLines(text)) {
    if (line === "" || line.startsWith("#") || line.startsWith(";")) continue;
    const header = /^\[([A-Z][A-Za-z]*)\]$/.exec(line);
    if (header !== null) {
      section = header[1] ?? "";
      continue;
    }
    const assignment = /^([A-Za-z]+)=(.*)$/.exec(line);
    if (assignment === null || section === "") throw new Error(`neither section nor assignment: ${line}`);
    const [, key = "", value = ""] = assignment;
    values.set(`${section}.${key}`, [...(values.get(`${section}.${key}`) ?? []), value]);
  }
  return { get: (name, key) => values.get(`${name}.${key}`) ?? [] };
}

/** A backslash at a line's end joins it to the next, with a space. */
function joinLines(text: string): string[] {
  const lines: string[] = [];
  let open = "";
  for (const line of text.split("\n")) {
    if (line.endsWith("\\")) {
      open += `${line.slice(0, -1)} `;
      continue;
    }
    lines.push((open + line).trim());
    open = "";
  }
  if (open !== "") throw new Error("the last line goes on");
  return lines;
}

/** The arguments that systemd would start: split at spaces outside quotes, unescaped, `%%` and `$$` undone. */
export function splitCommand(command: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let index = 0; index < command.length; index += 1) {
    const char = command[index] ?? "";
    if (quote === "" && char === " ") {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (quote === "" && (char === '"' || char === "'") && word === undefined) {
      quote = char;
      word = "";
    } else if (char === quote) {
      quote = "";
    } else if (char === "\\") {
      const hex = /^x([0-9a-f]{2})/.exec(command.slice(index + 1));
      word =
        (word ?? "") +
        (hex === null
          ? unescape(command[index + 1] ?? "")
          : String.fromCharCode(Number.parseInt(hex[1] ?? "", 16)));
      index += hex === null ? 1 : 3;
    } else {
      word = (word ?? "") + char;
    }
  }
  if (quote !== "") throw new Error(`a quote is not closed: ${command}`);
  if (word !== undefined) words.push(word);
  return words.map(expand);
}

function unescape(char: string): string {
  if (char !== "\\" && char !== '"' && char !== "'") throw new Error(`unknown escape: \\${char}`);
  return char;
}

/** A specifier or variable that is left would be replaced by systemd. */
function expand(word: string): string {
  return word.replaceAll(
    /%(.?)|\$(.?)/g,
    (whole, percent: string | undefined, dollar: string | undefined) => {
      if (percent === "%") return "%";
      if (dollar === "$") return "$";
      throw new Error(`${whole} would be expanded: ${word}`);
    },
  );
}

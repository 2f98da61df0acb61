/**
 * The file of variables that a unit has as EnvironmentFile=, read as systemd reads it (systemd.exec(5)): so that `check`
 * and `config` see what the service will.
 */
import { isUtf8 } from "node:buffer";
import { ConfigError } from "../config/settings.ts";
import { readBounded, readFailure } from "../net/pem.ts";
import { quotePath } from "../text/quote.ts";

/** The flag, for the commands that take the flags of serve. */
export const envFileFlag = {
  "environment-file": {
    group: "SETTINGS",
    type: "string",
    valueHint: "FILE",
    description:
      "also read OKMS_… variables from this file, as the unit of the package reads /etc/okms/INSTANCE.env",
  },
} as const;

/**
 * The environment with the file's variables over it.
 * @throws ConfigError where the file cannot be read
 */
export async function withEnvFile(
  env: NodeJS.ProcessEnv,
  file: string | undefined,
): Promise<NodeJS.ProcessEnv> {
  if (file === undefined || file === "") return env;
  const { variables, ignoredLines } = parseEnvFile(await textOf(file));
  if (ignoredLines.length > 0)
    throw new ConfigError(
      ignoredLines.map(
        (line) =>
          `--environment-file ${quotePath(file)}: systemd ignores line ${line}: it has NAME=value alone, without export`,
      ),
    );
  return { ...env, ...variables };
}

async function textOf(file: string): Promise<string> {
  const unreadable = (why: string): ConfigError =>
    new ConfigError([`Cannot read --environment-file ${quotePath(file)}: ${why}`]);
  const bytes = await readBounded(file).catch((error: unknown) => {
    throw unreadable(readFailure(error));
  });
  if (bytes === undefined) throw unreadable("is longer than 1 MiB");
  if (!isUtf8(bytes) || bytes.includes(0))
    throw new ConfigError([`--environment-file ${quotePath(file)} is not UTF-8: systemd refuses it`]);
  const text = bytes.toString("utf8");
  if (text.startsWith("\uFEFF"))
    throw new ConfigError([
      `--environment-file ${quotePath(file)} begins with a byte order mark, which systemd takes for a part of the first name: ` +
        "save it as UTF-8 without one",
    ]);
  return text;
}

/** What a file says. */
export interface EnvFile {
  readonly variables: Readonly<Record<string, string>>;
  /** Lines, from 1, in which a variable of the program is meant and the name is none, as `export OKMS_SOCK`. */
  readonly ignoredLines: readonly number[];
}

/**
 * Lines `NAME=value`, as parse_env_file of systemd 252 has them. A value may be in quotes, in which it may have several
 * lines, and goes on where its line ends in a backslash; so does a comment, which since systemd 254 it does not.
 */
export function parseEnvFile(text: string): EnvFile {
  const variables: Record<string, string> = {};
  const ignoredLines: number[] = [];
  const line = /[ \t\n\r]*(?:[#;](?:\\[^]|[^\\\n\r])*|([^=\n\r]*)(=?))/y;
  for (let at = 0; at < text.length; at = line.lastIndex) {
    line.lastIndex = at;
    const [, key = "", equals] = line.exec(text) ?? [];
    if (equals !== "=") continue;
    const keyEnd = line.lastIndex;
    const { value, end } = readValue(text, keyEnd);
    line.lastIndex = end;
    const name = key.replace(/[ \t]+$/, "");
    if (/^[A-Za-z_]\w*$/.test(name)) variables[name] = value;
    else if (name.includes("OKMS_")) ignoredLines.push(text.slice(0, keyEnd).split(/\r\n?|\n/).length);
  }
  return { variables, ignoredLines };
}

/** Parts in quotes, then a bare one, in which a quote is a letter like any other. */
function readValue(text: string, from: number): { readonly value: string; readonly end: number } {
  const part = /[ \t]*(?:'([^']*)'?|"((?:\\[^]|[^"\\])*)\\?"?)/y;
  let value = "";
  part.lastIndex = from;
  let end = from;
  for (let found = part.exec(text); found !== null; found = part.exec(text)) {
    const [, single, double = ""] = found;
    value += single ?? double.replaceAll(/\\(\n|["\\`$])/g, (_all, escaped: string) => escaped.trim());
    end = part.lastIndex;
  }
  const bare = /[ \t]*((?:\\[^]|[^\\\n\r])*)\\?/y;
  bare.lastIndex = end;
  const [, rest = ""] = bare.exec(text) ?? [];
  // Spaces at the end are no part of it, unless a backslash stands before them.
  const trimmed = /^(?:\\[^]|[^\\ \t]|[ \t]+(?=\\[^]|[^\\ \t]))*/.exec(rest)?.[0] ?? "";
  return {
    value: value + trimmed.replaceAll(/\\([^])/g, (_all, escaped: string) => escaped.replace(/[\n\r]/, "")),
    end: bare.lastIndex,
  };
}

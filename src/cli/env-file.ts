/**
 * The file of variables that a unit has as EnvironmentFile=, read as systemd reads it (systemd.exec(5)): so that `check`
 * and `config` see what the service will.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { ConfigError } from "../config/settings.ts";
import { readFailure } from "../net/pem.ts";
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
export function withEnvFile(env: NodeJS.ProcessEnv, file: string | undefined): NodeJS.ProcessEnv {
  if (file === undefined || file === "") return env;
  let text: string;
  try {
    text = readRegularFile(file);
  } catch (error) {
    throw new ConfigError([`Cannot read --environment-file ${quotePath(file)}: ${readFailure(error)}`]);
  }
  if (text.startsWith("\uFEFF"))
    throw new ConfigError([
      `--environment-file ${quotePath(file)} begins with a byte order mark, which systemd takes for a part of the first name: ` +
        "save it as UTF-8 without one",
    ]);
  return { ...env, ...parseEnvFile(text) };
}

const maxBytes = 1024 * 1024;

/** Neither a device nor a pipe, which would never end. */
function readRegularFile(file: string): string {
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw Object.assign(new Error("no file"), { code: "EISDIR" });
    if (stats.size > maxBytes) throw Object.assign(new Error("too long"), { code: "EFBIG" });
    return readFileSync(descriptor, "utf8");
  } finally {
    closeSync(descriptor);
  }
}

/** Lines `NAME=value`; a value may be in quotes, and goes on where its line ends in a backslash. */
export function parseEnvFile(text: string): Record<string, string> {
  const variables: Record<string, string> = {};
  // systemd ends a line at a carriage return, too.
  for (const line of text.replaceAll(/\\[\r\n]/g, "").split(/[\r\n]/)) {
    const assignment = /^\s*([A-Za-z_]\w*)\s*=(.*)$/.exec(line);
    if (assignment === null) continue;
    const [, name = "", value = ""] = assignment;
    variables[name] = unquote(value.trim());
  }
  return variables;
}

function unquote(value: string): string {
  const inner = /^(["'])(.*)\1$/.exec(value);
  if (inner === null) return value.replaceAll(/\\(.)/g, "$1");
  const [, quote, text = ""] = inner;
  return quote === "'" ? text : text.replaceAll(/\\(["\\`$])/g, "$1");
}

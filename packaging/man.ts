/**
 * Manual pages in man(7)'s macros, from the definitions that `--help` prints: one of the program, and one of each
 * command, as git has them.
 */
import { allCommands } from "../src/cli/index.ts";
import type { CliCommand, Flag } from "../src/cli/command.ts";
import { manifest, name } from "./host.ts";

/** A page: its file's name, without compression, and its text. */
export interface ManPage {
  readonly file: string;
  readonly text: string;
}

/** Commands for the administrator. */
const section = "8";

/**
 * Makes every page.
 * @param time of the release, in s since 1970
 */
export function manPages(time: number): ManPage[] {
  const date = new Date(time * 1000).toISOString().slice(0, 10);
  const [main, ...others] = allCommands;
  if (main === undefined) return [];
  return [
    page(main, name, date, commandsOf(main, others)),
    ...allCommands.map((command) => page(command, `${name}-${command.name}`, date, "")),
  ];
}

function page(command: CliCommand, title: string, date: string, commands: string): ManPage {
  const words = command.words.map((word) => ` \\fI${escape(word.name.toUpperCase())}\\fR`).join("");
  const isProgram = commands !== "";
  const synopsis = isProgram
    ? `\\fB${escape(name)}\\fR [\\fICOMMAND\\fR]`
    : `\\fB${escape(name)} ${command.name}\\fR${words}`;
  const text = [
    `.TH "${title.toUpperCase()}" "${section}" "${date}" "${manifest.version}" ""`,
    `.SH NAME\n${escape(title)} \\- ${escape(command.description)}`,
    `.SH SYNOPSIS\n${synopsis} [\\fIFLAGS\\fR]`,
    isProgram ? `.SH DESCRIPTION\n${escape(manifest.description)}.` : "",
    commands,
    argumentsOf(command),
    ...groupsOf(command),
    command.epilog === undefined ? "" : `.SH NOTES\n${paragraphs(command.epilog)}`,
    filesSection,
    seeAlso(title),
  ];
  return { file: `${title}.${section}`, text: `${text.filter((part) => part !== "").join("\n")}\n` };
}

function commandsOf(main: CliCommand, others: readonly CliCommand[]): string {
  const rows = [main, ...others].map(
    ({ name: own, description }, index) =>
      `.TP\n\\fB${own}\\fR\n${escape(index === 0 ? `${description} (the default)` : description)}`,
  );
  return `.SH COMMANDS\n${rows.join("\n")}`;
}

function argumentsOf({ words }: CliCommand): string {
  if (words.length === 0) return "";
  const rows = words.map(
    (word) => `.TP\n\\fI${escape(word.name.toUpperCase())}\\fR\n${escape(word.description)}`,
  );
  return `.SH ARGUMENTS\n${rows.join("\n")}`;
}

function groupsOf(command: CliCommand): string[] {
  const flags = Object.entries(command.flags).filter(([, { hidden }]) => hidden !== true);
  const groups = Map.groupBy(flags, ([, { group }]) => group);
  return [...groups].map(
    ([group, own]) => `.SH ${escape(group)}\n${own.map(([flag, it]) => row(flag, it)).join("\n")}`,
  );
}

function row(flag: string, { type, valueHint = "VALUE", description, fallback, env }: Flag): string {
  const value = type === "boolean" ? "" : ` \\fI${escape(valueHint)}\\fR`;
  const notes = [
    fallback === undefined ? "" : `The default is ${fallback}.`,
    env === undefined ? "" : `Environment: ${env}.`,
  ].filter((note) => note !== "");
  return `.TP\n\\fB\\-\\-${escape(flag)}\\fR${value}\n${escape([`${description}.`, ...notes].join(" "))}`;
}

const filesSection = `.SH FILES
.TP
\\fI/etc/okms/INSTANCE.env\\fR
settings of the unit ${escape(name)}@INSTANCE.service, a variable a line
.TP
\\fI/run/${escape(name)}/INSTANCE.sock\\fR
its socket`;

function seeAlso(title: string): string {
  const pages = [name, ...allCommands.map((command) => `${name}-${command.name}`)].filter(
    (one) => one !== title,
  );
  return `.SH SEE ALSO\n${pages.map((one) => `\\fB${escape(one)}\\fR(${section})`).join(",\n")}`;
}

function paragraphs(text: string): string {
  return text
    .trim()
    .split(/\n{2,}/)
    .map((one) => one.split("\n").map(escape).join("\n"))
    .join("\n.PP\n");
}

/** Text as roff takes it: a hyphen that may be copied, and no line that begins a request. */
function escape(text: string): string {
  return text
    .replaceAll("\\", "\\(rs")
    .replaceAll("-", "\\-")
    .replaceAll("…", "...")
    .replaceAll("✔", "[ok]")
    .replaceAll("✖", "[failed]")
    .replaceAll("—", "\\(em")
    .replaceAll("→", "\\(->")
    .replaceAll(/^([.'])/gm, "\\&$1");
}

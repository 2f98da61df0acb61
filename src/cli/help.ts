/** The help: flags in their groups, each with its variable and default. Plain text, at most 100 columns where it can be. */
import type { CliCommand, Flag } from "./command.ts";

/** The name that the program goes by. */
export const programName = "okms-k8s-encryption-provider";

/**
 * The help of a command.
 * @param command whose flags are listed
 * @param others commands to list below, for the program's own help
 */
export function renderHelp(command: CliCommand, others: readonly CliCommand[] = []): string {
  const isProgram = others.length > 0;
  const words = command.words.map((word) => ` ${word.name.toUpperCase()}`).join("");
  const usage = `${programName}${isProgram ? " [COMMAND]" : ` ${command.name}${words}`} [FLAGS]`;
  const parts = [
    `${command.description}\n\nUsage: ${usage}\n`,
    isProgram ? section("COMMANDS", commandRows([command, ...others])) : "",
    command.words.length > 0
      ? section(
          "ARGUMENTS",
          command.words.map((word) => [word.name.toUpperCase(), word.description]),
        )
      : "",
    ...flagSections(command),
    section("OTHER", [
      ["--help, -h", isProgram ? "print this help; after a command, that command's" : "print this help"],
      ["--version", `print the version`],
    ]),
    command.epilog === undefined ? "" : `${command.epilog.trim()}\n`,
  ];
  return parts.filter((part) => part !== "").join("\n");
}

type Row = readonly [left: string, right: string];

function commandRows(commands: readonly CliCommand[]): Row[] {
  return commands.map(({ name, description }, index) => [
    name,
    index === 0 ? `${description} (the default)` : description,
  ]);
}

function flagSections(command: CliCommand): string[] {
  const groups = new Map<string, Row[]>();
  for (const [name, flag] of Object.entries(command.flags)) {
    if (flag.hidden === true) continue;
    const rows = groups.get(flag.group) ?? [];
    groups.set(flag.group, [...rows, [flagTitle(name, flag), flagText(flag)]]);
  }
  return [...groups].map(([group, rows]) => section(group, rows));
}

function flagTitle(name: string, flag: Flag): string {
  return flag.type === "boolean" ? `--${name}` : `--${name} ${flag.valueHint ?? "VALUE"}`;
}

function flagText(flag: Flag): string {
  const otherwise = flag.default ?? flag.fallback;
  const notes = [
    otherwise === undefined ? "" : `default ${otherwise}`,
    flag.env === undefined ? "" : `$${flag.env}`,
  ].filter((note) => note !== "");
  return notes.length === 0 ? flag.description : `${flag.description} [${notes.join(", ")}]`;
}

const leftWidth = 30;
const textWidth = 78;

function section(title: string, rows: readonly Row[]): string {
  return `${title}\n${rows.map(renderRow).join("")}`;
}

function renderRow([left, right]: Row): string {
  const [first = "", ...rest] = wrap(right);
  const indent = " ".repeat(leftWidth + 2);
  // A long title keeps its own line, so that the texts stay in one column.
  const head = left.length > leftWidth - 2 ? `  ${left}\n${indent}` : `  ${left.padEnd(leftWidth)}`;
  return `${head}${first}\n${rest.map((line) => `${indent}${line}\n`).join("")}`;
}

function wrap(text: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > textWidth) {
      lines.push(line);
      line = "";
    }
    line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

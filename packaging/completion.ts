/** Completion for bash, zsh and fish, from the definitions that `--help` prints. */
import { allCommands } from "../src/cli/index.ts";
import type { CliCommand, Flag } from "../src/cli/command.ts";
import { name } from "./host.ts";

/** Shells that a script is made for. */
export type Shell = "bash" | "zsh" | "fish";

/** Makes the script for a shell. */
export function completion(shell: Shell): string {
  return { bash, zsh, fish }[shell]();
}

function flagsOf(command: CliCommand): [string, Flag][] {
  return Object.entries(command.flags).filter(([, { hidden }]) => hidden !== true);
}

function takesFile({ valueHint }: Flag): boolean {
  return valueHint === "FILE" || valueHint === "PATH" || valueHint === "FOLDER";
}

function choicesOf(command: CliCommand): string[] {
  return command.words.flatMap(({ choices }) => choices ?? []);
}

const [main = { name: "serve" }] = allCommands;

function bash(): string {
  const cases = allCommands.map((command) => {
    const words = [
      ...choicesOf(command),
      ...flagsOf(command).map(([flag]) => `--${flag}`),
      "--help",
      "--version",
    ];
    return `    ${command.name}) words="${words.join(" ")}" ;;`;
  });
  const files = new Set(
    allCommands
      .flatMap((command) => flagsOf(command))
      .filter(([, flag]) => takesFile(flag))
      .map(([flag]) => `--${flag}`),
  );
  return `# bash completion for ${name}
_${identifier}() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command=${main.name} words
  case $previous in
    ${[...files].join("|")}) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  if [ "$COMP_CWORD" -gt 1 ] && [[ \${COMP_WORDS[1]} != -* ]]; then command=\${COMP_WORDS[1]}; fi
  case $command in
${cases.join("\n")}
    *) return ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then words="${allCommands.map((one) => one.name).join(" ")} $words"; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o filenames -F _${identifier} ${name}
`;
}

function zshSpecification([flag, it]: [string, Flag]): string {
  const text = it.description.replaceAll(/[[\]:'\\]/g, " ");
  if (it.type === "boolean") return `'--${flag}[${text}]'`;
  return `'--${flag}=[${text}]:${it.valueHint ?? "VALUE"}:${takesFile(it) ? "_files" : ""}'`;
}

function zsh(): string {
  const cases = allCommands.map((command) => {
    const choices = choicesOf(command);
    const word = choices.length === 0 ? [] : [`'1:${command.words[0]?.name ?? ""}:(${choices.join(" ")})'`];
    const lines = [
      ...word,
      ...flagsOf(command).map(zshSpecification),
      "'--help[print the help]'",
      "'--version[print the version]'",
    ];
    return `    ${command.name}) _arguments \\\n      ${lines.join(" \\\n      ")} ;;`;
  });
  const names = allCommands.map((one) => `'${one.name}:${one.description.replaceAll(/[:']/g, " ")}'`);
  return `#compdef ${name}
_${identifier}() {
  local command=${main.name}
  if (( CURRENT > 2 )) && [[ $words[2] != -* ]]; then
    command=$words[2]
    shift words
    (( CURRENT-- ))
  elif [[ $words[2] != -* ]]; then
    local -a commands=(
      ${names.join("\n      ")}
    )
    _describe command commands
    return
  fi
  case $command in
${cases.join("\n")}
  esac
}
_${identifier} "$@"
`;
}

function fishQuote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function fish(): string {
  const commands = allCommands.map(
    (one) => `complete -c ${name} -n __fish_use_subcommand -a ${one.name} -d ${fishQuote(one.description)}`,
  );
  const flags = allCommands.flatMap((command) => {
    const seen = `__fish_seen_subcommand_from ${command.name}`;
    const words = choicesOf(command).map((choice) => `complete -c ${name} -n '${seen}' -a ${choice}`);
    const lines = flagsOf(command).map(([flag, it]) => {
      const value = it.type === "boolean" ? "" : ` -r${takesFile(it) ? " -F" : ""}`;
      return `complete -c ${name} -n '${seen}' -l ${flag}${value} -d ${fishQuote(it.description)}`;
    });
    return [...words, ...lines];
  });
  return [`# fish completion for ${name}`, `complete -c ${name} -f`, ...commands, ...flags, ""].join("\n");
}

const identifier = name.replaceAll("-", "_");

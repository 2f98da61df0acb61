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

/** Flags of any command that fit, as a pattern of bash's `case`. */
function anyOf(fits: (flag: Flag) => boolean): string {
  const found = allCommands.flatMap((command) => flagsOf(command).filter(([, flag]) => fits(flag)));
  return [...new Set(found.map(([flag]) => `--${flag}`))].join("|");
}

function bash(): string {
  const cases = allCommands.map((command) => {
    const flags = [...flagsOf(command).map(([flag]) => `--${flag}`), "--help", "--version"];
    return `    ${command.name}) words="${choicesOf(command).join(" ")}" flags="${flags.join(" ")}" ;;`;
  });
  return `# bash completion for ${name}
_${identifier}() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command=${main.name} words flags
  COMPREPLY=()
  # bash takes --flag=value for three words.
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]]; then
    previous=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $previous in
    ${anyOf(takesFile)})
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return ;;
    ${anyOf((flag) => flag.type !== "boolean" && !takesFile(flag))}) return ;;
  esac
  if [[ $COMP_CWORD -gt 1 && \${COMP_WORDS[1]} != -* ]]; then command=\${COMP_WORDS[1]}; fi
  case $command in
${cases.join("\n")}
    *) return ;;
  esac
  if [[ $current == -* ]]; then
    words=$flags
  elif [[ $COMP_CWORD -eq 1 ]]; then
    words="${allCommands.map((one) => one.name).join(" ")}"
  elif [[ $COMP_CWORD -gt 2 ]]; then
    words=
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _${identifier} ${name}
`;
}

/** As zsh takes it between single quotes. */
function zshQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function zshSpecification([flag, it]: [string, Flag]): string {
  const text = it.description.replaceAll(/[[\]\\]/g, "\\$&");
  if (it.type === "boolean") return zshQuote(`--${flag}[${text}]`);
  const action = takesFile(it) ? "_files" : "";
  return zshQuote(`--${flag}=[${text}]:${(it.valueHint ?? "VALUE").replaceAll(":", "\\:")}:${action}`);
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
  const names = allCommands.map((one) => zshQuote(`${one.name}:${one.description}`));
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
  const others = allCommands.filter((one) => one.name !== main.name).map((one) => one.name);
  const flags = allCommands.flatMap((command) => {
    // Flags without a command are those of the default one.
    const seen =
      command.name === main.name
        ? `not __fish_seen_subcommand_from ${others.join(" ")}`
        : `__fish_seen_subcommand_from ${command.name}`;
    const choices = choicesOf(command);
    const words = choices.map(
      (choice) =>
        `complete -c ${name} -n '${seen}; and not __fish_seen_subcommand_from ${choices.join(" ")}' -a ${choice}`,
    );
    const lines = flagsOf(command).map(([flag, it]) => {
      const value = it.type === "boolean" ? "" : takesFile(it) ? " -r -F" : " -x";
      return `complete -c ${name} -n '${seen}' -l ${flag}${value} -d ${fishQuote(it.description)}`;
    });
    return [...words, ...lines];
  });
  const ends = ["help", "version"].map((flag) => `complete -c ${name} -l ${flag} -d 'print the ${flag}'`);
  return [`# fish completion for ${name}`, `complete -c ${name} -f`, ...commands, ...flags, ...ends, ""].join(
    "\n",
  );
}

const identifier = name.replaceAll("-", "_");

/** What a person would see in a terminal: each command as it was typed, and its output, with names in place of what is of this run. */

/** Text by text, in order: what is of this run, and what stands for it. */
export type Names = ReadonlyMap<string, string>;

/** A transcript under way. */
export interface Transcript {
  /** Adds a command and its output. */
  add(command: string, output: string): void;
  /** All of it. */
  text(): string;
}

/** Begins a transcript. */
export function createTranscript(names: Names): Transcript {
  const parts: string[] = [];
  return {
    add(command, output) {
      parts.push(`# ${command}\n${output.trimEnd()}${output.trim() === "" ? "" : "\n"}`);
    },
    text() {
      let text = parts.join("");
      for (const [from, to] of names) text = text.replaceAll(from, to);
      return text;
    },
  };
}

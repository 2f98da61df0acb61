/** YAML that may hold secrets: what is wrong with it is told by the kind of the fault and its line, without a word of it. */
import { parseDocument } from "yaml";

/**
 * The value of a YAML document, as plain data; merge keys (`<<`) are followed.
 * @throws Error, with a message that quotes nothing, where it is not YAML, or its aliases multiply beyond all measure
 */
export function parseYaml(text: string): unknown {
  const document = parseDocument(text, { prettyErrors: false, merge: true });
  const [error] = document.errors;
  if (error !== undefined) throw new Error(`not YAML: ${error.code} in line ${lineAt(text, error.pos[0])}`);
  try {
    return document.toJS();
  } catch {
    throw new Error("not YAML that can be read: too many aliases, or one of nothing");
  }
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}

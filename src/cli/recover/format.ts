/**
 * Objects as text. The YAML has one meaning for every reader: kubectl's parser follows YAML 1.1, where `yes`, `0777`,
 * `1:30` and dates are no strings, and others follow 1.2. JSON keeps integers beyond 2^53.
 */
import { type CreateNodeOptions, type DocumentOptions, type ScalarTag, stringify } from "yaml";
import type { JsonObject } from "../../etcd/stored-object.ts";

/** A string that every reader of YAML takes for itself without quotes, or that may stand as a block. */
const plain = /^[A-Za-z_/][\w ./@=+-]*$/;
/** Words that some readers take for something else, and `e0`, which some take for a number. */
const words = /^(?:y|n|yes|no|on|off|true|false|null|nan|inf|e[-+]?\d+)$/i;
/** Line breaks for some readers only, byte order marks, and what is not printable. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const odd = /[\u0000-\u0009\u000B-\u001F\u007F-\u009F\u2028\u2029\uFEFF\uFFFE\uFFFF]/;

/** Writes an object as one YAML document. */
export function renderYaml(object: JsonObject): string {
  const options: DocumentOptions & CreateNodeOptions = { aliasDuplicateObjects: false };
  return stringify(object, { ...options, customTags: (tags) => tags.map(safer), lineWidth: 0 });
}

function safer(tag: unknown): ScalarTag {
  const known = tag as ScalarTag;
  if (known.tag !== "tag:yaml.org,2002:str") return known;
  return {
    ...known,
    stringify(item, context, onComment, onChompKeep) {
      const { value } = item;
      if (typeof value === "string" && needsQuotes(value)) return quoted(value);
      return known.stringify?.(item, context, onComment, onChompKeep) ?? quoted(String(value));
    },
  };
}

function needsQuotes(value: string): boolean {
  if (odd.test(value)) return true;
  // A block keeps its lines; leading blanks and empty ends need indicators that readers disagree about.
  if (value.includes("\n")) return !/^\S/.test(value) || /\s\n|\n\n$|\s$(?<!\n)/.test(value);
  return !plain.test(value) || words.test(value) || value.endsWith(" ");
}

/** A string of JSON is one of YAML. */
function quoted(value: string): string {
  return JSON.stringify(value).replaceAll(
    /[\u007F-\u009F\u2028\u2029\uFEFF\uFFFE\uFFFF]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Writes an object as indented JSON. */
export function renderJsonObject(object: JsonObject): string {
  return JSON.stringify(
    object,
    (_name, value: unknown) => (typeof value === "bigint" ? rawJson(value) : value),
    2,
  );
}

/** An integer as it was written. */
function rawJson(value: bigint): unknown {
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(String(value));
}

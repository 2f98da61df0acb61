/**
 * A strict reader of the Prometheus text format (version 0.0.4), for tests: what `promtool check metrics` would
 * complain about throws here. Source: prometheus.io, "Exposition formats".
 */

/** One line of a metric. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A metric with its help, type and lines. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly samples: Sample[];
}

const namePattern = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const samplePattern = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const labelPattern = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/y;

/** Reads a whole exposition. @throws Error at the first line that is not as it must be */
export function parseExposition(text: string): Map<string, Family> {
  if (!text.endsWith("\n")) throw new Error("the last line has no end");
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let help: { name: string; text: string } | undefined;
  let family: Family | undefined;
  for (const line of text.split("\n")) {
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (line === "") continue;
    if (comment !== null) {
      const [, kind, name = "", rest = ""] = comment;
      if (!namePattern.test(name)) throw new Error(`bad metric name: ${line}`);
      if (kind === "HELP") {
        help = { name, text: rest };
        continue;
      }
      if (help?.name !== name) throw new Error(`TYPE without its HELP: ${line}`);
      if (!["counter", "gauge", "histogram", "summary"].includes(rest)) throw new Error(`bad type: ${line}`);
      if (families.has(name)) throw new Error(`a second family: ${line}`);
      family = { name, help: help.text, type: rest, samples: [] };
      families.set(name, family);
      continue;
    }
    const sample = parseSample(line);
    if (family === undefined || !belongs(sample.name, family)) throw new Error(`stray sample: ${line}`);
    const identity = `${sample.name}${JSON.stringify(Object.entries(sample.labels).toSorted())}`;
    if (seen.has(identity)) throw new Error(`the same series twice: ${line}`);
    seen.add(identity);
    family.samples.push(sample);
  }
  for (const one of families.values()) check(one);
  return families;
}

function parseSample(line: string): Sample {
  const match = samplePattern.exec(line);
  if (match === null) throw new Error(`not a sample: ${line}`);
  const [, name = "", labelText, valueText = ""] = match;
  return {
    name,
    labels: labelText === undefined ? {} : parseLabels(labelText),
    value: parseValue(valueText),
  };
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  labelPattern.lastIndex = 0;
  while (labelPattern.lastIndex < text.length) {
    const at = labelPattern.lastIndex;
    const match = labelPattern.exec(text);
    if (match === null) throw new Error(`bad labels at ${at}: ${text}`);
    const [, name = "", value = ""] = match;
    if (Object.hasOwn(labels, name)) throw new Error(`label twice: ${text}`);
    labels[name] = value.replaceAll(/\\(.)/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped));
  }
  return labels;
}

function parseValue(text: string): number {
  if (text === "+Inf" || text === "Inf") return Number.POSITIVE_INFINITY;
  if (text === "-Inf") return Number.NEGATIVE_INFINITY;
  if (text === "NaN" || text === "Nan") return Number.NaN;
  const value = Number(text);
  if (Number.isNaN(value)) throw new Error(`not a number: ${text}`);
  return value;
}

function belongs(name: string, family: Family): boolean {
  if (family.type === "histogram")
    return ["_bucket", "_sum", "_count"].some((suffix) => name === `${family.name}${suffix}`);
  return name === family.name;
}

function check(family: Family): void {
  if (family.type === "counter" && !family.name.endsWith("_total"))
    throw new Error(`a counter's name must end in _total: ${family.name}`);
  if (family.type !== "counter" && family.name.endsWith("_total"))
    throw new Error(`only a counter's name ends in _total: ${family.name}`);
  if (family.type === "histogram") checkHistogram(family);
  if (family.type === "counter" && family.samples.some(({ value }) => !(value >= 0)))
    throw new Error(`a counter below zero: ${family.name}`);
}

function checkHistogram(family: Family): void {
  const series = new Map<string, Sample[]>();
  for (const sample of family.samples) {
    const { le: _le, ...rest } = sample.labels;
    const identity = JSON.stringify(Object.entries(rest).toSorted());
    series.set(identity, [...(series.get(identity) ?? []), sample]);
  }
  for (const samples of series.values()) {
    const buckets = samples.filter(({ name }) => name.endsWith("_bucket"));
    const count = samples.find(({ name }) => name.endsWith("_count"));
    const bounds = buckets.map(({ labels }) => parseValue(labels["le"] ?? ""));
    if (bounds.at(-1) !== Number.POSITIVE_INFINITY) throw new Error(`no +Inf bucket: ${family.name}`);
    for (const [index, bucket] of buckets.entries()) {
      if (index === 0) continue;
      if ((bounds[index] ?? 0) <= (bounds[index - 1] ?? 0)) throw new Error(`bounds fall: ${family.name}`);
      if (bucket.value < (buckets[index - 1]?.value ?? 0)) throw new Error(`buckets fall: ${family.name}`);
    }
    if (buckets.at(-1)?.value !== count?.value) throw new Error(`_count is not +Inf: ${family.name}`);
  }
}

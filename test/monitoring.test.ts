/** docs/monitoring.md, alerts.yaml and grafana-dashboard.json: they name metrics and labels that are there. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { before, describe, test } from "node:test";
import { parseDocument } from "yaml";
import { parseExposition } from "./exposition.ts";
import type { Family } from "./exposition.ts";
import { createUsedMetrics } from "./used-metrics.ts";

const root = path.dirname(import.meta.dirname);
const prefix = "okms_encryption_provider_";
/** kube-apiserver's, with their labels (k8s.io/apiserver, envelope/metrics), and what Prometheus adds to all. */
const foreign: Readonly<Record<string, readonly string[]>> = {
  up: [],
  apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds: ["provider_name", "key_id_hash"],
  apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds: [
    "transformation_type",
    "provider_name",
    "key_id_hash",
  ],
  apiserver_envelope_encryption_kms_operations_latency_seconds_bucket: [
    "provider_name",
    "method_name",
    "grpc_status_code",
    "le",
  ],
};
const everywhere = ["instance", "job"];

let families: Map<string, Family>;
/** Series name to its labels. */
const labelsOf = new Map<string, Set<string>>();
before(async () => {
  families = parseExposition(await createUsedMetrics().render());
  for (const { samples } of families.values())
    for (const { name, labels } of samples)
      labelsOf.set(name, new Set([...(labelsOf.get(name) ?? []), ...Object.keys(labels)]));
  for (const [name, labels] of Object.entries(foreign)) labelsOf.set(name, new Set(labels));
});

function read(file: string): string {
  return readFileSync(path.join(root, file), "utf8");
}

/** Asserts that an expression's brackets close, and that its series and their labels are there. */
function checkExpression(expression: string): void {
  const bare = expression.replaceAll(/"[^"]*"/g, '""');
  for (const [open, close] of ["()", "{}", "[]"].map((pair) => [...pair]))
    assert.equal(
      bare.split(open ?? "").length,
      bare.split(close ?? "").length,
      `${open}${close}: ${expression}`,
    );
  const names = [...bare.matchAll(/\b((?:okms|process|nodejs|apiserver)_\w+|up\b)(?:\{([^}]*)\})?/g)];
  assert.ok(names.length > 0, `no series: ${expression}`);
  const all = new Set(everywhere);
  for (const [, name = "", matchers = ""] of names) {
    const labels = labelsOf.get(name);
    assert.ok(labels !== undefined, `there is no series ${name}: ${expression}`);
    for (const label of labels) all.add(label);
    for (const [, label = ""] of matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g))
      assert.ok(labels.has(label) || everywhere.includes(label), `${name} has no label ${label}`);
  }
  for (const [, list = ""] of bare.matchAll(/\b(?:by|on)\s*\(([^)]*)\)/g))
    for (const label of list.split(",").map((one) => one.trim()))
      assert.ok(all.has(label), `no series of it has the label ${label}: ${expression}`);
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

function readRules(): readonly Rule[] {
  const document = parseDocument(read("docs/alerts.yaml"));
  assert.deepEqual(document.errors, []);
  const { groups } = document.toJS() as { groups: readonly { name: string; rules: readonly Rule[] }[] };
  return groups.flatMap(({ rules }) => rules);
}

/** Runs promtool; undefined where it is not installed. */
function promtool(
  args: readonly string[],
  input = "",
): { status: number | null; output: string } | undefined {
  const ran = spawnSync("promtool", args, { encoding: "utf8", input });
  return ran.error === undefined ? { status: ran.status, output: ran.stdout + ran.stderr } : undefined;
}

describe("docs/alerts.yaml", () => {
  for (const rule of readRules()) {
    test(`has in ${rule.alert} an expression of series that are there, and words that help`, () => {
      checkExpression(rule.expr);
      const known = new Set(["alert", "expr", "for", "labels", "annotations"]);
      assert.deepEqual(
        Object.keys(rule).filter((field) => !known.has(field)),
        [],
      );
      assert.match(rule.for ?? "1m", /^\d+[smh]$/);
      assert.match(rule.labels["severity"] ?? "", /^(critical|warning)$/);
      assert.deepEqual(Object.keys(rule.annotations), ["summary", "description", "runbook"]);
      const [page = "", section] = (rule.annotations["runbook"] ?? "").split("#");
      const headings = [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
        heading
          .toLowerCase()
          .replaceAll(/[^\w\- ]/g, "")
          .replaceAll(" ", "-"),
      );
      assert.ok(section === undefined || headings.includes(section), rule.annotations["runbook"]);
      for (const text of Object.values(rule.annotations)) assert.ok(text.length > 10, text);
    });

    test(`has in ${rule.alert} no label in its words that its expression lost`, () => {
      const aggregated = /\bby \(([^)]*)\)/.exec(rule.expr)?.[1]?.split(/,\s*/);
      const used = [...JSON.stringify(rule.annotations).matchAll(/\$labels\.(\w+)/g)].map(
        (match) => match[1] ?? "",
      );
      for (const label of used) if (aggregated !== undefined) assert.ok(aggregated.includes(label), label);
    });
  }

  const demanded = ["OkmsNoGoodProbe", "OkmsCertificateEndsSoon", "OkmsKeysDiffer", "OkmsCallsFail"];
  test(`holds ${demanded.join(", ")}, each rule once`, () => {
    const names = readRules().map(({ alert }) => alert);
    assert.equal(new Set(names).size, names.length);
    assert.deepEqual(
      demanded.filter((name) => !names.includes(name)),
      [],
    );
  });

  test("passes promtool and its unit tests where promtool is installed, as do the metrics", async (t) => {
    const rules = promtool(["check", "rules", path.join(root, "docs/alerts.yaml")]);
    if (rules === undefined) {
      t.diagnostic(
        "promtool is not installed: the readers of this file and of exposition.ts alone have looked",
      );
      return;
    }
    assert.equal(rules.status, 0, rules.output);
    const units = promtool(["test", "rules", path.join(root, "test/alerts.promtool.yaml")]);
    assert.equal(units?.status, 0, units?.output);
    const metrics = promtool(["check", "metrics"], await createUsedMetrics().render());
    assert.equal(metrics?.status, 0, metrics?.output);
  });
});

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: Readonly<Record<"x" | "y" | "w" | "h", number>>;
  readonly targets?: readonly { readonly refId: string; readonly expr: string }[];
}

interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string }[] };
}

describe("docs/grafana-dashboard.json", () => {
  const dashboard = JSON.parse(read("docs/grafana-dashboard.json")) as Dashboard;

  for (const { title, type, targets = [] } of dashboard.panels) {
    if (type === "row") continue;
    test(`has in the panel "${title}" expressions of series that are there`, () => {
      assert.ok(targets.length > 0);
      assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length);
      for (const { expr } of targets) checkExpression(expr);
    });
  }

  test("gives each panel an id of its own and a place of its own", () => {
    const ids = dashboard.panels.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    const taken = new Map<string, string>();
    for (const { title, gridPos } of dashboard.panels) {
      assert.ok(gridPos.x + gridPos.w <= 24, title);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          assert.equal(taken.get(`${x},${y}`), undefined, `${title} lies over another panel`);
          taken.set(`${x},${y}`, title);
        }
      }
    }
  });

  test("uses only variables that it declares", () => {
    const declared = new Set([
      ...dashboard.templating.list.map(({ name }) => name),
      "__rate_interval",
      "__all",
    ]);
    const used = [...read("docs/grafana-dashboard.json").matchAll(/\$\{?(\w+)\}?/g)].map(
      (match) => match[1] ?? "",
    );
    assert.deepEqual(
      used.filter((name) => !declared.has(name)),
      [],
    );
  });
});

describe("docs/monitoring.md", () => {
  const text = read("docs/monitoring.md");

  test("explains every metric with its labels, and none that is not there", () => {
    const rows = [...text.matchAll(/^\| `([a-z_]+)` \|(.*?)\| /gm)].map(([, name = "", labels = ""]) => [
      name,
      [...labels.matchAll(/`(\w+)`/g)].map((match) => match[1]).toSorted(),
    ]);
    const there = [...families.values()]
      .filter(({ name }) => name.startsWith(prefix))
      .map(({ name, samples }) => [
        name.slice(prefix.length),
        Object.keys(samples[0]?.labels ?? {})
          .filter((label) => label !== "le")
          .toSorted(),
      ]);
    assert.deepEqual(rows.toSorted(byName), there.toSorted(byName));
  });

  test("explains every alert, and none that is not there", () => {
    const alerts = new Set(readRules().map(({ alert }) => alert));
    assert.deepEqual(new Set(text.match(/\bOkms[A-Z]\w+/g)), alerts);
  });

  test("has expressions of series that are there", () => {
    const blocks = [...text.matchAll(/```promql\n([^`]*)```/g)].map((match) => match[1] ?? "");
    assert.equal(blocks.length, 3);
    for (const block of blocks) checkExpression(block);
  });

  test("names the process's own metrics as they are", () => {
    for (const [, name = ""] of text.matchAll(/`((?:process|nodejs)_\w+)`/g))
      assert.ok(families.has(name), name);
  });
});

function byName([a]: readonly unknown[], [b]: readonly unknown[]): number {
  return String(a).localeCompare(String(b));
}

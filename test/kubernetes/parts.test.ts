/** The parts of `reencrypt` that need no server: names and wildcards, the role, the line of progress. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseAllDocuments } from "yaml";
import { type ProgressLine, Progress, renderProgress } from "../../src/cli/reencrypt/progress.ts";
import { renderRbac } from "../../src/cli/reencrypt/rbac.ts";
import { planResources } from "../../src/cli/reencrypt/resources.ts";
import { reencryptCommand } from "../../src/cli/reencrypt.ts";
import { resourceName, type ServedResource } from "../../src/kubernetes/discovery.ts";
import { servedMigration } from "../../src/kubernetes/migration.ts";
import { runCommand } from "../cli/run-command.ts";

const served: ServedResource[] = [
  ["", "secrets"],
  ["", "events"],
  ["", "bindings", ["create"]],
  ["apps", "deployments"],
  ["events.k8s.io", "events"],
  ["a.example.com", "widgets"],
].map(([group, resource, verbs]) => ({
  group: group as string,
  version: "v1",
  resource: resource as string,
  isNamespaced: true,
  verbs: (verbs as string[] | undefined) ?? ["get", "list", "patch"],
}));

describe("planResources", () => {
  for (const [names, resources, notServed, notPatchable] of [
    [["secrets"], ["secrets"], [], []],
    [["*."], ["secrets", "events"], [], []],
    [["*.apps", "deployments.apps"], ["deployments.apps"], [], []],
    [["widgets.a.example.com"], ["widgets.a.example.com"], [], []],
    [["*.*"], ["secrets", "events", "deployments.apps", "widgets.a.example.com"], [], []],
    [["events.events.k8s.io"], ["events.events.k8s.io"], [], []],
    [["secrets.apps", "*.nothing"], [], ["secrets.apps", "*.nothing"], []],
    [["bindings"], [], [], ["bindings"]],
    [[], [], [], []],
  ] as const)
    test(`takes ${names.join(", ") || "nothing"} for ${resources.join(", ") || "nothing"}`, () => {
      const plan = planResources(names, served);
      assert.deepEqual(plan.resources.map(resourceName), resources);
      assert.deepEqual([plan.notServed, plan.notPatchable], [notServed, notPatchable]);
    });
});

/** Kind and rules of the role; the binding binds it to the account. */
function rulesOf(options: Parameters<typeof renderRbac>[0]): unknown {
  const manifests = parseAllDocuments(renderRbac(options)).map((document) => document.toJS() as Manifest);
  const [account, role, binding] = manifests;
  assert.deepEqual([binding?.roleRef?.kind, binding?.roleRef?.name], [role?.kind, role?.metadata.name]);
  assert.deepEqual(binding?.subjects?.[0]?.namespace, account?.metadata.namespace);
  return [role?.kind, role?.rules];
}

describe("servedMigration", () => {
  for (const [version, isUsed] of [
    ["v1", true],
    ["v1beta1", true],
    // Its spec.resource has a version as well.
    ["v1alpha1", false],
  ] as const)
    test(`${isUsed ? "uses" : "leaves"} ${version}`, () => {
      const kind: ServedResource = {
        group: "storagemigration.k8s.io",
        version,
        resource: "storageversionmigrations",
        isNamespaced: false,
        verbs: ["create", "get", "delete"],
      };
      assert.equal(servedMigration([...served, kind]), isUsed ? kind : undefined);
    });
});

describe("--print-rbac", () => {
  const verbs = ["list", "patch"];
  const migrations = {
    apiGroups: ["storagemigration.k8s.io"],
    resources: ["storageversionmigrations"],
    verbs: ["create", "get", "delete"],
  };

  test("names each resource of each group once", () => {
    const resources = ["secrets", "configmaps", "*.apps", "widgets.example.com"];
    assert.deepEqual(rulesOf({ resources, method: "auto", namespace: undefined }), [
      "ClusterRole",
      [
        { apiGroups: [""], resources: ["secrets", "configmaps"], verbs },
        { apiGroups: ["apps"], resources: ["*"], verbs },
        { apiGroups: ["example.com"], resources: ["widgets"], verbs },
        migrations,
      ],
    ]);
  });

  test("takes *.* for all", () => {
    assert.deepEqual(rulesOf({ resources: ["*.*"], method: "patch", namespace: undefined }), [
      "ClusterRole",
      [{ apiGroups: ["*"], resources: ["*"], verbs }],
    ]);
  });

  test("asks for no right to read where a controller does the work", () => {
    const options = { resources: ["secrets"], method: "migration", namespace: undefined } as const;
    assert.deepEqual(rulesOf(options), ["ClusterRole", [migrations]]);
  });

  test("is a Role for one namespace", () => {
    assert.deepEqual(rulesOf({ resources: ["secrets"], method: "auto", namespace: "team" }), [
      "Role",
      [{ apiGroups: [""], resources: ["secrets"], verbs }],
    ]);
  });

  test("needs no cluster", async () => {
    const ran = await runCommand(reencryptCommand, [
      "--print-rbac",
      "--resource=secrets",
      "--namespace=team",
    ]);
    assert.equal(ran.code, 0);
    assert.match(ran.stdout, /kind: Role\n/);
  });
});

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: unknown;
  readonly roleRef?: { readonly kind: string; readonly name: string };
  readonly subjects?: readonly { readonly namespace: string }[];
}

describe("the line of progress", () => {
  const line: ProgressLine = { label: "secrets", done: 4100, total: 10_000, perSecond: 49.4, isBar: false };
  for (const [what, change, text] of [
    ["with all that is known", {}, "secrets: 4,100 of 10,000 (41%), 49/s, 1m59s left"],
    ["without a total", { total: undefined }, "secrets: 4,100 objects, 49/s"],
    ["without a rate", { perSecond: 0 }, "secrets: 4,100 of 10,000 (41%)"],
    ["at the end", { done: 10_000 }, "secrets: 10,000 of 10,000 (100%), 49/s"],
    ["with more than were counted", { done: 10_002 }, "secrets: 10,002 of 10,000 (100%), 49/s"],
    [
      "with a bar",
      { isBar: true },
      "secrets: [###########                 ] 4,100 of 10,000 (41%), 49/s, 1m59s left",
    ],
  ] as const)
    test(what, () => {
      assert.equal(renderProgress({ ...line, ...change }), text);
    });

  test("is drawn again in place on a terminal, and gone at the end", (t) => {
    t.mock.timers.enable({ apis: ["setInterval"] });
    let text = "";
    const progress = new Progress({ isTTY: true, write: (part) => (text += part) }, 10, 0);
    progress.begin("secrets");
    t.mock.timers.tick(200);
    progress.add(5);
    t.mock.timers.tick(200);
    progress.note("a line that stays");
    progress.end();
    const [first = "", second = "", last = ""] = text.split("\r\u001B[K");
    assert.match(first, /^secrets: \[ +\] 0 of 10 \(0%\)$/);
    assert.match(second, /^secrets: \[#{14} +\] 5 of 10 \(50%\)/);
    assert.equal(last, "a line that stays\n");
  });

  for (const [columns, text] of [
    [80, "secrets: [                            ] 0 of 10 (0%)"],
    [40, "secrets: 0 of 10 (0%)"],
    [12, "secrets: 0 "],
  ] as const)
    test(`fits a terminal of ${columns} columns`, (t) => {
      t.mock.timers.enable({ apis: ["setInterval"] });
      let drawn = "";
      const stream = { isTTY: true, columns, write: (part: string) => (drawn += part) };
      const progress = new Progress(stream, 10, 0);
      progress.begin("secrets");
      t.mock.timers.tick(200);
      progress.end();
      assert.equal(drawn, `${text}\r\u001B[K`);
    });

  test("is a line each ten seconds elsewhere", (t) => {
    t.mock.timers.enable({ apis: ["setInterval"] });
    let text = "";
    const progress = new Progress({ write: (part) => (text += part) }, 10, 0);
    progress.begin("secrets");
    t.mock.timers.tick(9999);
    assert.equal(text, "");
    t.mock.timers.tick(1);
    progress.end();
    assert.equal(text, "secrets: 0 of 10 (0%)\n");
  });
});

describe("reencrypt's flags", () => {
  for (const [argv, message] of [
    [[], /give --encryption-config FILE, or --resource secrets/],
    [["--resource=Secrets"], /"Secrets" is no name such as secrets/],
    [["--resource=*"], /"\*" is no name/],
    [["--resource=secrets", "--qps=0"], /from 1 to 10000/],
    [["--resource=secrets", "--method=magic"], /must be one of: auto, migration, patch/],
    [["--resource=secrets", "--method=migration", "--namespace=x"], /knows no single namespace/],
  ] as const)
    test(`are refused: ${argv.join(" ") || "none"}`, async () => {
      await assert.rejects(runCommand(reencryptCommand, argv), message);
    });
});

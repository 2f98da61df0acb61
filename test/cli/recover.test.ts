/** `recover` over the fixture: what it gives equals what the API server read, and what cannot be given is named. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { PassThrough } from "node:stream";
import { after, before, describe, test } from "node:test";
import { parse, parseAllDocuments } from "yaml";
import { readArgv } from "../../src/cli/argv.ts";
import { runCliCommand } from "../../src/cli/command.ts";
import { recoverCommand } from "../../src/cli/recover.ts";
import { renderJsonObject, renderYaml } from "../../src/cli/recover/format.ts";
import { ConfigError } from "../../src/config/settings.ts";
import { decodeStored } from "../../src/etcd/stored-object.ts";
import * as fc from "fast-check";
import type { DevKms } from "../devkms/devkms.ts";
import { flagList, kmipFlagsOf, serving } from "../e2e/serving.ts";
import { damaged, expectedObjects, fixture, liveValues, startFixtureKms } from "../etcd/fixture.ts";
import { temporaryFolder } from "../server/harness.ts";
import { runCommand, type Ran } from "./run-command.ts";
import { createCollector } from "../support/collector.ts";

interface Recovered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly [field: string]: unknown;
  };
  readonly type?: string;
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: Readonly<Record<string, string>>;
}

const resources: Readonly<Record<string, string>> = {
  Secret: "secrets",
  ConfigMap: "configmaps",
  Widget: "example.com/widgets",
};
/** In the form of an etcd key. */
const nameOf = ({ kind, metadata }: Recovered): string =>
  `/registry/${resources[kind] ?? kind}/${metadata.namespace}/${metadata.name}`;
/** Encrypted by keys that are not here. */
const sealed = new Set(
  ["cbc-1", "cbc-2", "box-1"].map((name) => `/registry/secrets/team-${name[0] === "c" ? "a" : "b"}/${name}`),
);
const snapshot = ["--snapshot", fixture.snapshot];
const three = ["--resource", "secrets,configmaps", "--resource", "widgets.example.com"];

let kms: DevKms;
let flags: string[];
before(async () => {
  kms = await startFixtureKms();
  const { "encryption-key-label": _unused, ...own } = kmipFlagsOf(kms);
  flags = flagList(own);
});
after(() => kms.close());

function recover(...args: readonly string[]): Promise<Ran> {
  return runCommand(recoverCommand, args);
}

/** Everything that was not damaged is there, as the API server had it; nothing else is. */
function assertExpected(objects: readonly Recovered[], withUid: boolean): void {
  const found = new Map(
    objects.filter(({ kind }) => kind in resources).map((object) => [nameOf(object), object]),
  );
  const wanted = expectedObjects().filter(({ list, item }) => {
    const key = `/registry/${list.replace("/api/v1/", "").replace("/apis/example.com/v1/", "example.com/")}/${item.ns}/${item.name}`;
    return !(key in damaged) && !sealed.has(key);
  });
  assert.equal(found.size, wanted.length);
  for (const { list, item } of wanted) {
    const resource = list.replace("/api/v1/", "").replace("/apis/example.com/v1/", "example.com/");
    const object = found.get(`/registry/${resource}/${item.ns}/${item.name}`);
    assert.ok(object, item.name);
    assert.deepEqual(object.data ?? object.spec ?? null, item.data, item.name);
    assert.equal(object.type ?? null, item.type);
    assert.deepEqual(object.metadata.labels ?? null, item.labels);
    assert.deepEqual(object.metadata.annotations ?? null, item.annotations);
    assert.equal(object.metadata.uid, withUid ? item.uid : undefined);
  }
}

function assertNamed(stderr: string): void {
  for (const [key, pattern] of [
    ["broken-tag", /its authentication tag is wrong/],
    ["wrong-type", /its DEK source is a seed, and the value says that it is a key/],
    ["copied", /it was written under another name: \/registry\/secrets\/default\/moved-src/],
    ["dead-key", /the KMS does not know its key "00000000-dead-4000-8000-000000000000"/],
    ["cut", /it is cut/],
  ] as const) {
    const line = stderr.split("\n").find((one) => one.startsWith(`✖ /registry/secrets/default/${key}: `));
    assert.match(line ?? "", pattern);
  }
}

describe("recover", () => {
  test("gives every undamaged object as YAML, and names the damaged ones", async () => {
    const asked = kms.kmipRequests()["Decrypt"] ?? 0;
    const { code, stdout, stderr } = await recover(...snapshot, ...three, ...flags);
    assert.equal(code, 1);
    assertExpected(
      parseAllDocuments(stdout).map((document) => document.toJS() as Recovered),
      false,
    );
    assertNamed(stderr);
    assert.match(stderr, /^\d+ objects recovered, 8 not, with 6 Decrypts$/m);
    assert.equal((kms.kmipRequests()["Decrypt"] ?? 0) - asked, 6);
  });

  test("gives the same as a List of JSON, and everything that the API server had set with --keep-metadata", async () => {
    const { stdout } = await recover(...snapshot, "--all", "-o", "json", "--keep-metadata", ...flags);
    const { kind, items } = JSON.parse(stdout) as { kind: string; items: Recovered[] };
    assert.equal(kind, "List");
    assertExpected(items, true);
    const secret = items.find(({ metadata }) => metadata.name === "a-1");
    assert.match(String(secret?.metadata["creationTimestamp"]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  });

  test("gives the same by way of a plugin that runs", async (t) => {
    const { sock } = await serving(t, flagList({ ...kmipFlagsOf(kms), "encryption-key-label": "k8s-kek" }));
    const { stdout, stderr } = await recover(...snapshot, ...three, "--sock", sock, "--output", "json");
    assertExpected((JSON.parse(stdout) as { items: Recovered[] }).items, false);
    assertNamed(stderr);
  });

  test("leaves out what kubectl apply stumbles over", async () => {
    const { stdout } = await recover(...snapshot, ...three, ...flags, "-o", "json");
    for (const { metadata } of (JSON.parse(stdout) as { items: Recovered[] }).items)
      for (const field of [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "generation",
        "ownerReferences",
      ])
        assert.ok(!(field in metadata), field);
  });

  test("gives the one object that is asked for as itself", async () => {
    const one = ["--resource", "secrets", "--namespace", "team-a", "--name", "a-1"];
    const { code, stdout } = await recover(...snapshot, ...one, ...flags, "-o", "json");
    assert.equal(code, 0);
    assert.equal((JSON.parse(stdout) as Recovered).metadata.name, "a-1");
    const none = await recover(...snapshot, "--name", "nobody", ...flags);
    assert.equal(none.code, 1);
    assert.match(none.stderr, /there is no such object/);
  });

  test("needs no KMS for what is in plaintext, and says so of what is not", async () => {
    const plain = await recover(...snapshot, "--resource", "secrets", "--name", "plain-1,plain-2");
    assert.equal(plain.code, 0);
    assert.equal(parseAllDocuments(plain.stdout).length, 2);
    const { code, stderr } = await recover(...snapshot, "--name", "a-1");
    assert.equal(code, 1);
    assert.match(stderr, /a-1: it is encrypted by a KMS v2 plugin: give the KMS flags of serve, or --sock/);
  });

  test("writes a file for each object, for nobody else to read, and overwrites none", async (t) => {
    const out = path.join(temporaryFolder(t), "out");
    const args = [...snapshot, "--resource", "secrets", "--namespace", "team-a", ...flags, "--out", out];
    const { stdout } = await recover(...args);
    assert.equal(stdout, "");
    const names = readdirSync(out).toSorted();
    assert.deepEqual(
      names,
      [1, 2, 3, 4, 5].map((index) => `secrets_team-a_a-${index}.yaml`),
    );
    for (const name of names) assert.equal(statSync(path.join(out, name)).mode & 0o777, 0o600);
    assert.equal(statSync(out).mode & 0o777, 0o700);
    assert.equal(
      (parse(readFileSync(path.join(out, "secrets_team-a_a-1.yaml"), "utf8")) as Recovered).metadata.name,
      "a-1",
    );
    writeFileSync(path.join(out, "secrets_team-a_a-1.yaml"), "mine");
    const again = await recover(...args);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /secrets_team-a_a-1\.yaml is there already, and is not overwritten/);
    assert.equal(readFileSync(path.join(out, "secrets_team-a_a-1.yaml"), "utf8"), "mine");
  });

  test("gives other built-in kinds as their bytes with --raw only", async (t) => {
    const args = [...snapshot, "--resource", "services", "--name", "kubernetes"];
    const refused = await recover(...args);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /a Service of v1 is stored as protobuf: --raw gives its bytes/);
    const out = temporaryFolder(t);
    assert.equal((await recover(...args, "--raw", "--out", out)).code, 0);
    const bytes = readFileSync(path.join(out, "services_default_kubernetes.bin"));
    assert.equal(bytes.subarray(0, 4).toString(), "k8s\0");
    assert.deepEqual(decodeStored(bytes), { form: "protobuf", apiVersion: "v1", kind: "Service" });
    const all = await recover(...snapshot, "--all", ...flags);
    assert.match(all.stderr, /^! \d+ objects skipped, stored as protobuf of other kinds/m);
  });

  test("opens one value by its key", async (t) => {
    const value = liveValues().find(({ key }) =>
      Buffer.from(key, "base64").toString().endsWith("/team-a/a-1"),
    );
    const file = path.join(temporaryFolder(t), "value");
    writeFileSync(file, Buffer.from(value?.value ?? "", "base64"));
    const key = "/registry/secrets/team-a/a-1";
    const { code, stdout } = await recover("--value", file, "--key-path", key, ...flags);
    assert.equal(code, 0);
    assert.equal((parse(stdout) as Recovered).metadata.name, "a-1");
    const moved = await recover("--value", file, "--key-path", `${key}x`, ...flags);
    assert.match(moved.stderr, /it was written under another name: \/registry\/secrets\/team-a\/a-1/);
  });

  for (const [what, args, pattern] of [
    ["no choice", snapshot, /Missing choice: give --resource/],
    ["two sources", [...snapshot, ...snapshot, "--all"], /Too many sources/],
    ["a form that is none", [...snapshot, "--all", "-o", "xml"], /must be one of: yaml, json/],
  ] as const)
    test(`complains about ${what}`, async () => {
      await assert.rejects(
        recover(...args),
        (error) => error instanceof ConfigError && pattern.test(error.message),
      );
    });
});

/** Runs it with a standard output that says it is a terminal. */
async function onTerminal(args: readonly string[]): Promise<string> {
  const { stream: stdout, text } = createCollector();
  const io = {
    env: {},
    stdout: Object.assign(stdout, { isTTY: true }),
    stderr: new PassThrough().resume(),
  };
  await runCliCommand(recoverCommand, io, readArgv(args, recoverCommand.flags, 1));
  return text();
}

describe("recover before a terminal", () => {
  const one = [...snapshot, "--resource", "secrets", "--name", "plain-1"];

  test("prints nothing, unless it is told to", async (t) => {
    await assert.rejects(onTerminal(one), /What recover prints is secret: give --out DIR, a pipe, or --show/);
    assert.match(await onTerminal([...one, "--show"]), /^kind: Secret$/m);
    assert.equal(await onTerminal([...one, "--out", path.join(temporaryFolder(t), "out")]), "");
  });
});

describe("The YAML of recover", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 60 }).filter((one) => one.isWellFormed()),
    fc.string({ maxLength: 60 }),
    fc.constantFrom(
      "yes",
      "NO",
      "on",
      "y",
      "~",
      "",
      "0777",
      "0o17",
      "1:30",
      "1e3",
      "e0",
      "E+3",
      "2001-01-01",
      "=",
      "<<",
      "null",
      ".inf",
      "- a",
      "a: b",
      "# c",
    ),
    fc
      .array(fc.constantFrom("line", " ", "\n", "\t", "- x", "  y", "\u2028", "\u0085", "#", "---"), {
        maxLength: 8,
      })
      .map((parts) => parts.join("")),
  );

  test("is read back as it was written, by readers of YAML 1.1 and of 1.2", () => {
    fc.assert(
      fc.property(fc.dictionary(text, text, { maxKeys: 5, noNullPrototype: true }), (data) => {
        const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "x" }, data };
        for (const version of ["1.1", "1.2"] as const)
          assert.deepEqual(parse(renderYaml(object), { version }), object);
      }),
      { numRuns: 500 },
    );
  });

  test("keeps integers that no float can hold", () => {
    const stored = decodeStored(
      Buffer.from('{"apiVersion":"e.com/v1","kind":"W","metadata":{"name":"x"},"count":9007199254740993}'),
    );
    assert.ok(stored.form === "object");
    assert.match(renderYaml(stored.object), /^count: 9007199254740993$/m);
    assert.match(renderJsonObject(stored.object), /"count": 9007199254740993/);
  });
});

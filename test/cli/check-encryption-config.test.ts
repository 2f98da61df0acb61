/** `check --encryption-config`: what kube-apiserver would refuse, ignore, or take and not do what was meant. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { stringify } from "yaml";
import { checkEncryptionConfig, checkEncryptionConfigText } from "../../src/cli/check/encryption-config.ts";
import type { Finding } from "../../src/cli/check/finding.ts";
import { configCommand } from "../../src/cli/config.ts";
import { temporaryFolder } from "../server/harness.ts";
import { runCommand } from "./run-command.ts";

const plugin = { sock: "/run/okms/kms.sock", timeoutMs: 10_000 };
type Fields = Readonly<Record<string, unknown>>;

const kms = { apiVersion: "v2", name: "okms", endpoint: "unix:///run/okms/kms.sock", timeout: "3s" };

/** A configuration with these providers. */
function configuration(providers: readonly Fields[], resources: readonly string[] = ["secrets"]): string {
  return stringify({
    apiVersion: "apiserver.config.k8s.io/v1",
    kind: "EncryptionConfiguration",
    resources: [{ resources, providers }],
  });
}

/** The usual one, with some fields of its kms provider changed; undefined takes a field out. */
function withKms(change: Fields): string {
  const changed = Object.entries({ ...kms, ...change }).filter(([, value]) => value !== undefined);
  return configuration([{ kms: Object.fromEntries(changed) }, { identity: {} }]);
}

function notOk(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ status }) => status !== "ok" && status !== "skipped");
}

describe("an EncryptionConfiguration", () => {
  test("that is right passes every check, a line each", () => {
    const findings = checkEncryptionConfigText(withKms({}), plugin);
    assert.deepEqual(
      findings.map(({ name, status }) => [name, status]),
      ["file", "provider", "version", "cachesize", "timeout", "names", "order", "resources"].map((name) => [
        `api ${name}`,
        "ok",
      ]),
    );
  });

  test("that `config` printed passes every check", async () => {
    const { stdout } = await runCommand(configCommand, ["encryption-configuration", `--sock=${plugin.sock}`]);
    assert.deepEqual(notOk(checkEncryptionConfigText(stdout, plugin)), []);
  });

  test("that `config` printed for a rotation passes for the next key, and warns for the one in use", async () => {
    const argv = ["encryption-configuration", `--sock=${plugin.sock}`, "--rotate-to=next"];
    const { stdout } = await runCommand(configCommand, argv);
    const next = { ...plugin, sock: "/run/okms/kms-next.sock" };
    assert.deepEqual(notOk(checkEncryptionConfigText(stdout, next)), []);
    const [warned, ...others] = notOk(checkEncryptionConfigText(stdout, plugin));
    assert.deepEqual([warned?.name, warned?.status, others], ["api order", "warning", []]);
  });

  const endpoints: readonly (readonly [endpoint: string, sock: string])[] = [
    ["unix:///run/okms/kms.sock", "/var/run/okms/kms.sock"],
    ["unix:///var/run/okms/kms.sock", "/run/okms/kms.sock"],
    ["unix:/run/okms/kms.sock", "/run/okms/kms.sock"],
    ["unix:///@okms", "@okms"],
    ["unix:///run/a%20b.sock", "/run/a b.sock"],
  ];
  for (const [endpoint, sock] of endpoints) {
    test(`with the endpoint ${endpoint} leads to ${sock}`, () => {
      assert.deepEqual(notOk(checkEncryptionConfigText(withKms({ endpoint }), { ...plugin, sock })), []);
    });
  }

  const failures: readonly (readonly [what: string, text: string, name: string, message: RegExp])[] = [
    [
      "no apiVersion below kms",
      withKms({ apiVersion: undefined }),
      "api version",
      /has no apiVersion, which means v1/,
    ],
    ["apiVersion v1", withKms({ apiVersion: "v1" }), "api version", /has "v1"/],
    [
      "a cachesize",
      withKms({ cachesize: 1000 }),
      "api cachesize",
      /resources\[0\]\.providers\[0\]\.kms has cachesize/,
    ],
    [
      "another endpoint",
      withKms({ endpoint: "unix:///run/other.sock" }),
      "api provider",
      /no endpoint leads to \/run\/okms\/kms\.sock: "unix:\/\/\/run\/other\.sock"/,
    ],
    [
      "an endpoint with two slashes",
      withKms({ endpoint: "unix://run/okms/kms.sock" }),
      "api provider",
      /"run" is taken for the name of a host/,
    ],
    [
      "an endpoint over TCP",
      withKms({ endpoint: "tcp://127.0.0.1:1" }),
      "api provider",
      /must begin with unix/,
    ],
    ["no endpoint", withKms({ endpoint: undefined }), "api provider", /no endpoint leads to/],
    ["no kms provider", configuration([{ identity: {} }]), "api provider", /there is no kms provider/],
    ["a timeout of 500 ms", withKms({ timeout: "500ms" }), "api timeout", /500ms is too short/],
    ["a timeout of zero", withKms({ timeout: "0s" }), "api timeout", /"0s" is not a positive duration/],
    ["a timeout without a unit", withKms({ timeout: "3" }), "api timeout", /"3" is not a positive duration/],
    [
      "a timeout that YAML takes for a number",
      withKms({ timeout: 3 }),
      "api file",
      /timeout must be a duration with its unit/,
    ],
    ["no name", withKms({ name: undefined }), "api names", /has no name/],
    ["a name with a colon", withKms({ name: "a:b" }), "api names", /"a:b" holds a colon/],
    [
      "two providers of one name",
      configuration([{ kms }, { kms: { ...kms, endpoint: "unix:///x" } }, { identity: {} }]),
      "api names",
      /"okms" is the name of two/,
    ],
    [
      "identity first",
      configuration([{ identity: {} }, { kms }]),
      "api order",
      /identity comes first, so that nothing is encrypted/,
    ],
    [
      "a misspelt field",
      withKms({ cacheSize: 5 }),
      "api file",
      /resources\[0\]\.providers\[0\]\.kms\.cacheSize is an unknown field/,
    ],
    [
      "two providers in one element",
      configuration([{ kms, identity: {} }]),
      "api file",
      /providers\[0\] must hold one provider/,
    ],
    ["an empty element", configuration([{}]), "api file", /providers\[0\] must hold one provider/],
    ["no providers", configuration([]), "api file", /resources\[0\]\.providers must hold a provider/],
    [
      "no resources in its list",
      configuration([{ kms }], []),
      "api file",
      /resources\[0\]\.resources must name a resource/,
    ],
    [
      "capital letters",
      configuration([{ kms }, { identity: {} }], ["Secrets"]),
      "api resources",
      /"Secrets" holds capital letters/,
    ],
    [
      "a bare star",
      configuration([{ kms }, { identity: {} }], ["*"]),
      "api resources",
      /"\*" must be written/,
    ],
    [
      "secrets twice",
      configuration([{ kms }, { identity: {} }], ["secrets", "secrets"]),
      "api resources",
      /"secrets" is there twice/,
    ],
    [
      "a wildcard beside what it hides",
      configuration([{ kms }, { identity: {} }], ["secrets", "*."]),
      "api resources",
      /"\*\." hides others/,
    ],
    [
      "*.* beside anything",
      configuration([{ kms }, { identity: {} }], ["secrets", "*.*"]),
      "api resources",
      /"\*\.\*" hides others/,
    ],
    [
      "one resource in all groups",
      configuration([{ kms }, { identity: {} }], ["secrets", "things.*"]),
      "api resources",
      /one resource in all groups/,
    ],
    [
      "the group of events",
      configuration([{ kms }, { identity: {} }], ["secrets", "events.events.k8s.io"]),
      "api resources",
      /is stored as "events"/,
    ],
    [
      "the group extensions",
      configuration([{ kms }, { identity: {} }], ["secrets", "a.extensions"]),
      "api resources",
      /extensions is gone/,
    ],
    [
      "what has no REST API",
      configuration([{ kms }, { identity: {} }], ["secrets", "serviceipallocations"]),
      "api resources",
      /has no REST API/,
    ],
    [
      "another kind",
      "apiVersion: v1\nkind: Pod\n",
      "api file",
      /apiVersion must be "apiserver\.config\.k8s\.io\/v1"/,
    ],
    ["a tab in its indentation", "apiVersion: a\n\tkind: b\n", "api file", /not YAML: .* in line 2/],
    ["a key twice", "kind: a\nkind: b\n", "api file", /not YAML: DUPLICATE_KEY in line 2/],
    ["nothing", "", "api file", /the file is empty/],
    ["aliases that multiply", aliasBomb(), "api file", /./],
  ];
  for (const [what, text, name, message] of failures) {
    test(`with ${what} fails, and says what to do`, () => {
      const findings = checkEncryptionConfigText(text, plugin);
      const wrong = findings.filter(({ status }) => status === "failed");
      assert.deepEqual(
        wrong.map((one) => one.name),
        [name],
        JSON.stringify(wrong),
      );
      assert.match(wrong[0]?.message ?? "", message);
      assert.notEqual(wrong[0]?.advice ?? "", "");
    });
  }

  const warnings: readonly (readonly [what: string, text: string, name: string, message: RegExp])[] = [
    [
      "a timeout beyond the plugin's",
      withKms({ timeout: "20s" }),
      "api timeout",
      /longer than the plugin's --timeout 10s/,
    ],
    ["a timeout of a minute", withKms({ timeout: "1m" }), "api timeout", /health probes/],
    ["no identity", configuration([{ kms }]), "api order", /there is no identity/],
    [
      "another provider first",
      configuration([{ aescbc: { keys: [{}] } }, { kms }, { identity: {} }]),
      "api order",
      /another provider comes first/,
    ],
    [
      "identity before a second kms provider",
      configuration([{ kms }, { identity: {} }, { kms: { ...kms, name: "b", endpoint: "unix:///b" } }]),
      "api order",
      /identity comes before a kms provider/,
    ],
    [
      "secrets left out",
      configuration([{ kms }, { identity: {} }], ["configmaps"]),
      "api resources",
      /secrets are not among them/,
    ],
  ];
  for (const [what, text, name, message] of warnings) {
    test(`with ${what} is warned about`, () => {
      const [warned, ...others] = notOk(checkEncryptionConfigText(text, plugin));
      assert.deepEqual([warned?.name, warned?.status, others], [name, "warning", []]);
      assert.match(warned?.message ?? "", message);
    });
  }

  test("takes kube-apiserver's default where there is no timeout", () => {
    assert.deepEqual(notOk(checkEncryptionConfigText(withKms({ timeout: undefined }), plugin)), []);
  });

  test("is never quoted where it holds other providers' keys", () => {
    const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISE=";
    const rows = [{ keys: [{ name: "k", secret }] }, { keys: secret }, secret];
    for (const aescbc of rows) {
      const findings = checkEncryptionConfigText(configuration([{ kms }, { aescbc }]), plugin);
      assert.ok(!JSON.stringify(findings).includes(secret), JSON.stringify(findings));
    }
    const broken = `${configuration([{ kms }])}\n  - ${secret}: [`;
    assert.ok(!JSON.stringify(checkEncryptionConfigText(broken, plugin)).includes(secret));
  });

  test("that cannot be read is said so, and nothing further tried", async (t) => {
    const file = path.join(temporaryFolder(t), "none.yaml");
    const [first, ...others] = await checkEncryptionConfig(file, plugin);
    assert.deepEqual([first?.name, first?.status], ["api file", "failed"]);
    assert.ok(others.length > 0 && others.every(({ status }) => status === "skipped"));
    writeFileSync(file, withKms({}));
    assert.deepEqual(notOk(await checkEncryptionConfig(file, plugin)), []);
  });
});

/** The "billion laughs": a few lines that come to gigabytes where aliases are expanded without a bound. */
function aliasBomb(): string {
  const levels = Array.from({ length: 12 }, (_, level) => {
    const inner = level === 0 ? "x" : `*a${level - 1}`;
    return `a${level}: &a${level} [${Array.from({ length: 10 }, () => inner).join(", ")}]`;
  });
  return `${levels.join("\n")}\n`;
}

test("names, kube-apiserver's default timeout, and paths by another spelling are understood", () => {
  const names = checkEncryptionConfigText(withKms({}), plugin).find(({ name }) => name === "api names");
  assert.equal(names?.message, '"okms"');
  const short = { ...plugin, timeoutMs: 1000 };
  for (const timeout of ["3s", undefined]) {
    const found = notOk(checkEncryptionConfigText(withKms({ timeout }), short));
    assert.deepEqual(
      found.map(({ name, status }) => [name, status]),
      [["api timeout", "warning"]],
    );
  }
  const relative = { ...plugin, sock: path.relative(process.cwd(), plugin.sock) };
  assert.deepEqual(notOk(checkEncryptionConfigText(withKms({}), relative)), []);
  const [empty] = checkEncryptionConfigText("", plugin);
  assert.match(empty?.message ?? "", /the file is empty/);
});

test("a named pipe is refused, not waited for", async (t) => {
  const pipe = path.join(temporaryFolder(t), "pipe");
  execFileSync("mkfifo", [pipe]);
  const [found] = await checkEncryptionConfig(pipe, plugin);
  assert.equal(found?.status, "failed");
});

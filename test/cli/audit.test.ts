/** `audit` over the fixture: its counts are those of notes.txt, and what is wrong is named with its reason. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { auditCommand } from "../../src/cli/audit.ts";
import { ConfigError } from "../../src/config/settings.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { flagList, kmipFlagsOf, serving } from "../e2e/serving.ts";
import { damaged, fixture, keyIds, liveValues, startFixtureKms } from "../etcd/fixture.ts";
import { temporaryFolder } from "../server/harness.ts";
import { runCommand, type Ran } from "./run-command.ts";

interface JsonGroup {
  readonly resource: string;
  readonly kind: string;
  readonly provider?: string;
  readonly keyId?: string;
  readonly objects: number;
  readonly dekSources?: readonly { readonly id: string; readonly objects: number }[];
}
interface JsonSource {
  readonly source: string;
  readonly revision: number;
  readonly error?: string;
  readonly current: {
    readonly objects: number;
    readonly groups: readonly JsonGroup[];
    readonly notUnderstoodCount: number;
  };
  readonly oldRevisions: { readonly groups: readonly JsonGroup[] };
  readonly deletions: number;
  readonly coldStartDecrypts: number;
  readonly problems: readonly { readonly kind: string; readonly message: string; readonly objects: number }[];
  readonly verify?: {
    readonly readable: number;
    readonly decryptCalls: number;
    readonly unreadable: {
      readonly count: number;
      readonly values: readonly {
        readonly key: string;
        readonly reason: string;
        readonly deleteCommand?: string;
      }[];
    };
  };
}
interface JsonAudit {
  readonly ok: boolean;
  readonly sources: readonly JsonSource[];
  readonly keys?: readonly { readonly answer: string }[];
}

const snapshot = ["--snapshot", fixture.snapshot];

function audit(...args: readonly string[]): Promise<Ran> {
  return runCommand(auditCommand, args);
}

function parse({ stdout }: Ran): JsonAudit {
  return JSON.parse(stdout) as JsonAudit;
}

async function only(...args: readonly string[]): Promise<JsonSource> {
  const [source] = parse(await audit("--json", ...args)).sources;
  assert.ok(source);
  return source;
}

/** `secrets kms-v2 okms A` to a number, of what is encrypted or in plaintext beside it. */
function counts(groups: readonly JsonGroup[]): Record<string, number> {
  const resources = new Set(["secrets", "configmaps", "widgets.example.com"]);
  const names = Object.fromEntries(Object.entries(keyIds).map(([name, id]) => [id, name]));
  return Object.fromEntries(
    groups
      .filter(({ resource }) => resources.has(resource))
      .map(({ resource, kind, provider, keyId, objects }) => [
        [resource, kind, provider, keyId === undefined ? undefined : names[keyId]].filter(Boolean).join(" "),
        objects,
      ]),
  );
}

/** notes.txt; the API server's own config map is beside what it names. */
const expectedCounts = {
  "configmaps kms-v2 okms a": 2,
  "configmaps plaintext": 1,
  "secrets aescbc k1": 2,
  "secrets kms-v2 okms a": 8,
  "secrets kms-v2 okms b": 5,
  "secrets kms-v2 okms-second b": 6,
  "secrets kms-v2 okms-second dead": 1,
  "secrets plaintext": 3,
  "secrets secretbox k1": 1,
  "widgets.example.com kms-v2 okms a": 1,
  "widgets.example.com kms-v2 okms b": 1,
  "widgets.example.com plaintext": 1,
};

describe("audit of a snapshot", () => {
  test("counts by resource, provider and key", async () => {
    const source = await only(...snapshot);
    assert.deepEqual(counts(source.current.groups), expectedCounts);
    assert.equal(source.revision, 250);
    assert.equal(source.coldStartDecrypts, 6);
    assert.equal(source.current.notUnderstoodCount, 1);
    assert.equal(source.deletions, 1);
  });

  test("keeps old revisions apart: those of what was rewritten, deleted or damaged since", async () => {
    const source = await only(...snapshot);
    assert.deepEqual(counts(source.oldRevisions.groups), {
      "secrets kms-v2 okms a": 2,
      "secrets kms-v2 okms-second b": 3,
    });
  });

  test("tells two seeds under one key apart", async () => {
    const source = await only(...snapshot);
    const group = source.current.groups.find(
      ({ resource, keyId }) => resource === "secrets" && keyId === keyIds.a,
    );
    assert.deepEqual(group?.dekSources?.map(({ objects }) => objects).toSorted(), [3, 5]);
  });

  test("is a table for people, with what is wrong below, and exit code 1", async () => {
    const { code, stdout } = await audit(...snapshot);
    assert.equal(code, 1);
    assert.match(stdout, /^secrets +kms v2 okms +aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee +8 +2 +216–228$/m);
    assert.match(stdout, /^ +DEK source [0-9a-f]{16} +3 +226–228$/m);
    assert.match(stdout, /^6 DEK sources: at its next cold start kube-apiserver asks for 6 Decrypts$/m);
    assert.match(
      stdout,
      /^✖ 3 secrets in plaintext that should be encrypted: rewrite them \(default\/plain-/m,
    );
    assert.match(stdout, /^✖ 1 value not understood \(\/registry\/secrets\/default\/cut /m);
  });

  test("holds nothing that is in a Secret", async () => {
    const { stdout, stderr } = await audit(...snapshot);
    const json = await audit("--json", ...snapshot);
    for (const text of [stdout, stderr, json.stdout])
      for (const secret of [
        "pw-default-plain-1",
        Buffer.from("pw-default-plain-1").toString("base64").slice(0, 20),
      ])
        assert.ok(!text.includes(secret));
  });

  test("under a wrong prefix says that there is nothing", async () => {
    const source = await only(...snapshot, "--etcd-prefix", "/other");
    assert.deepEqual(
      source.problems.map(({ kind }) => kind),
      ["nothing-read"],
    );
  });
});

const provider = (name: string): string =>
  `        - kms: { apiVersion: v2, name: ${name}, endpoint: "unix:///run/kms.sock" }\n`;
const writeConfig = (
  folder: string,
  ...entries: readonly (readonly [resources: string, providers: string])[]
): string => {
  const name = path.join(folder, "configuration.yaml");
  const body = entries.map(
    ([resources, providers]) =>
      `  - resources: [${resources}]\n    providers:\n${providers.replaceAll("        -", "      -")}`,
  );
  writeFileSync(
    name,
    `apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n${body.join("")}`,
  );
  return name;
};

describe("audit with an EncryptionConfiguration", () => {
  const identity = "        - identity: {}\n";

  test("names what should be encrypted and is not, and what it cannot read any more", async (t) => {
    const config = writeConfig(temporaryFolder(t), [
      "secrets",
      `${provider("okms-second")}${provider("okms")}${identity}`,
    ]);
    const { problems } = await only(...snapshot, "--encryption-config", config);
    const has = (kind: string, objects: number, text: string): void =>
      assert.ok(
        problems.some((one) => one.kind === kind && one.objects === objects && one.message.includes(text)),
        `${kind} ${objects} ${text}: ${JSON.stringify(problems, undefined, 1)}`,
      );
    has("plaintext", 3, "secrets in plaintext");
    has("provider-missing", 2, "aescbc k1");
    has("provider-missing", 1, "secretbox k1");
    // It names no config maps and no widgets: only plaintext of them can be read.
    has("provider-missing", 2, "configmaps under kms v2 okms");
    has("provider-missing", 1, "widgets.example.com under kms v2 okms");
    has("old-key", 8, "secrets under kms v2 okms");
    assert.ok(!problems.some(({ kind, message }) => kind === "plaintext" && !message.includes("secrets")));
  });

  test("goes by the first entry that names a resource, wildcards too, and by the names of local keys", async (t) => {
    const aescbc =
      "        - aescbc: { keys: [{ name: k1, secret: AAAA }] }\n        - secretbox: { keys: [{ name: k1, secret: AAAA }] }\n";
    const config = writeConfig(
      temporaryFolder(t),
      ["widgets.example.com, configmaps", `${provider("okms")}${identity}`],
      ["'*.'", `${provider("okms-second")}${provider("okms")}${aescbc}${identity}`],
    );
    const { problems } = await only(...snapshot, "--encryption-config", config);
    assert.ok(!problems.some(({ kind }) => kind === "provider-missing"), JSON.stringify(problems));
    // Everything of the core group: services and namespaces as well.
    assert.ok(problems.some(({ kind, message }) => kind === "plaintext" && message.includes("namespaces")));
    assert.ok(!problems.some(({ message }) => message.includes("clusterroles")));
  });

  test("is refused where it is none", async (t) => {
    const config = path.join(temporaryFolder(t), "configuration.yaml");
    writeFileSync(config, "kind: Secret\n");
    await assert.rejects(
      audit(...snapshot, "--encryption-config", config),
      /--encryption-config .*kind must be/,
    );
    await assert.rejects(audit(...snapshot, "--encryption-config", "/no/such"), /there is no such file/);
  });
});

describe("audit --key", () => {
  test("says no for a key that current objects need, by resource with examples", async () => {
    const { code, stdout } = await audit(...snapshot, "--key", keyIds.a);
    assert.equal(code, 1);
    assert.match(stdout, new RegExp(`^✖ key ${keyIds.a} must not be destroyed`, "m"));
    assert.match(stdout, /^ {2}current: 8 secrets in snapshot .*\(team-b\/a2-3, .*…\)$/m);
    assert.match(stdout, /^ {2}old revisions: 2 secrets in snapshot /m);
  });

  test("says yes where nothing needs it, in capitals too", async () => {
    const { code, stdout } = await audit(...snapshot, "--key-id", "B4F8282D-3D61-4856-8231-151B383D827D");
    assert.equal(code, 0);
    assert.match(stdout, /^✔ key .* may be destroyed/m);
    assert.equal((await audit(...snapshot, "--key", keyIds.a.toUpperCase())).code, 1);
  });

  test("answers over all sources: one that cannot be read leaves it open", async (t) => {
    const cut = path.join(temporaryFolder(t), "cut.db");
    writeFileSync(cut, readFileSync(fixture.snapshot).subarray(0, 100_000));
    const free = "b4f8282d-3d61-4856-8231-151b383d827d";
    const both = parse(await audit("--json", ...snapshot, ...snapshot, "--key", free));
    assert.equal(both.sources.length, 2);
    assert.deepEqual(
      both.keys?.map(({ answer }) => answer),
      ["yes"],
    );
    const ran = await audit("--json", ...snapshot, "--snapshot", cut, "--key", free);
    assert.equal(ran.code, 1);
    assert.deepEqual(
      parse(ran).keys?.map(({ answer }) => answer),
      ["unknown"],
    );
    assert.match(parse(ran).sources[1]?.error ?? "", /cut\.db has no SHA-256 at its end/);
  });

  test("says no yes of a source that holds nothing: the prefix may be wrong", async () => {
    const { code, stdout } = await audit(...snapshot, "--etcd-prefix", "/other", "--key", keyIds.a);
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^✖ whether key .* may be destroyed is not known\n {2}snapshot .* could not be read, holds no object/m,
    );
  });

  test("says no yes where a value is under a provider of an unknown kind", async (t) => {
    const file = path.join(temporaryFolder(t), "value");
    writeFileSync(file, "k8s:enc:kms:v9:okms:something");
    const ran = await audit(
      "--json",
      "--value",
      file,
      "--key-path",
      "/registry/secrets/a/b",
      "--key",
      keyIds.a,
    );
    assert.equal(ran.code, 1);
    assert.deepEqual(
      parse(ran).keys?.map(({ answer }) => answer),
      ["unknown"],
    );
  });

  test("says apart that only old revisions need it", async () => {
    // The dead key is of one current object; with that one's resource out of sight nothing is left but what is old.
    const { verdict } = await oldOnly();
    assert.equal(verdict.answer, "old-revisions");
  });
});

async function oldOnly() {
  const { judgeKey } = await import("../../src/cli/audit/key-verdict.ts");
  const { createInventoryTaker } = await import("../../src/etcd/inventory.ts");
  const first = liveValues().find(({ key }) => Buffer.from(key, "base64").toString().endsWith("/team-a/a-1"));
  assert.ok(first);
  const taker = createInventoryTaker("/registry");
  const entry = {
    key: Buffer.from(first.key, "base64").toString(),
    value: Buffer.from(first.value, "base64"),
  };
  taker.add({ ...entry, revision: 5, state: "old" });
  return { verdict: judgeKey(keyIds.a, [{ source: "made", inventory: taker.take() }]) };
}

function check({ verify }: JsonSource): void {
  assert.ok(verify);
  assert.equal(verify.decryptCalls, 6);
  assert.equal(verify.unreadable.count, 5);
  assert.deepEqual(
    Object.fromEntries(verify.unreadable.values.map(({ key, reason }) => [key, reason])),
    damaged,
  );
  const command = verify.unreadable.values.find(({ key }) => key.endsWith("/cut"))?.deleteCommand;
  assert.equal(
    command,
    `echo '{"apiVersion":"v1","kind":"DeleteOptions","ignoreStoreReadErrorWithClusterBreakingPotential":true}' | kubectl delete --raw /api/v1/namespaces/default/secrets/cut -f -`,
  );
}

describe("audit --verify", () => {
  let kms: DevKms;
  before(async () => {
    kms = await startFixtureKms();
  });
  after(() => kms.close());

  test("with the KMS's own flags names what cannot be read and why, with the command to delete it", async () => {
    const { "encryption-key-label": _unused, ...flags } = kmipFlagsOf(kms);
    check(await only("--verify", ...snapshot, ...flagList(flags)));
  });

  test("does the same by way of a plugin that runs", async (t) => {
    const { sock } = await serving(t, flagList({ ...kmipFlagsOf(kms), "encryption-key-label": "k8s-kek" }));
    check(await only("--verify", ...snapshot, "--sock", sock));
    const { code, stdout } = await audit("--verify", ...snapshot, "--sock", sock);
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^ {2}\/registry\/secrets\/default\/copied: it was written under another name: .*moved-src$/m,
    );
    assert.match(stdout, /^! 2 values not checked: it is encrypted by aescbc/m);
  });

  test("says of a KMS that is away nothing about the data", async () => {
    const { "encryption-key-label": _unused, ...flags } = kmipFlagsOf(kms);
    await kms.stop();
    const ran = await audit("--json", "--verify", ...snapshot, ...flagList({ ...flags, timeout: "300ms" }));
    await kms.start();
    assert.equal(ran.code, 1);
    const [source] = parse(ran).sources;
    assert.equal(source?.verify, undefined);
    assert.ok(source?.error !== undefined);
  });
});

describe("audit of one value", () => {
  const value = liveValues().find(({ key }) => Buffer.from(key, "base64").toString().endsWith("/team-a/a-1"));

  test("needs its key, and takes etcdctl's newline behind it", async (t) => {
    const file = path.join(temporaryFolder(t), "value");
    writeFileSync(file, Buffer.concat([Buffer.from(value?.value ?? "", "base64"), Buffer.from("\n")]));
    const source = await only("--value", file, "--key-path", "/registry/secrets/team-a/a-1");
    assert.deepEqual(counts(source.current.groups), { "secrets kms-v2 okms a": 1 });
    assert.equal((await audit("--value", file, "--key-path", "/registry/secrets/team-a/a-1")).code, 0);
    await assert.rejects(audit("--value", file), /Missing required flag --key-path/);
  });
});

describe("audit of what a stranger has made", () => {
  test("sends no escape sequence of a name to the terminal", async (t) => {
    const file = path.join(temporaryFolder(t), "value");
    writeFileSync(file, "k8s:enc:kms:v1:\u001b[2Jevil\n✔ all is well:x");
    const key = "/registry/secrets/\u001b]0;title\u0007/a\nb";
    const { stdout } = await audit("--value", file, "--key-path", key);
    // oxlint-disable-next-line no-control-regex -- they are what is looked for
    assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b-\u001f]/);
    assert.doesNotMatch(stdout, /^✔ all is well/m);
  });
});

describe("audit --textfile", () => {
  test("writes metrics that a collector takes, of every source", async (t) => {
    const file = path.join(temporaryFolder(t), "etcd_audit.prom");
    await audit(...snapshot, "--textfile", file);
    const text = readFileSync(file, "utf8");
    assert.match(text, /^okms_audit_ok 0$/m);
    assert.match(text, /^okms_audit_source_read\{source="snapshot .*"\} 1$/m);
    assert.match(
      text,
      /^okms_audit_objects\{.*resource="secrets",kind="kms-v2",provider="okms-second",key_id_hash="sha256:.*"\} 6$/m,
    );
    assert.match(text, /^okms_audit_problem_objects\{.*problem="plaintext"\} 5$/m);
    assert.match(text, /^okms_audit_cold_start_decrypts\{.*\} 6$/m);
  });
});

describe("audit complains about", () => {
  for (const [what, args, pattern] of [
    ["no source", [], /Missing source: give --endpoints, --snapshot/],
    ["a word that is not -", ["file.db"], /Unexpected argument "file.db": only - for standard input/],
    ["an endpoint that is none", ["--endpoints", "ftp://x"], /"ftp:\/\/x" is not https:\/\/host:port/],
    [
      "a certificate without its key",
      ["--endpoints", "x:1", "--cert", "/c.pem"],
      /--cert and --key of etcd belong together/,
    ],
    ["--verify without a KMS", [...snapshot, "--verify"], /--verify needs --sock of a running plugin/],
    [
      "two ways to decrypt",
      [...snapshot, "--verify", "--sock", "/s", "--protocol", "kmip"],
      /use --sock .* or the flags of a KMS/,
    ],
  ] as const)
    test(what, async () => {
      await assert.rejects(
        audit(...args),
        (error) => error instanceof ConfigError && pattern.test(error.message),
      );
    });
});

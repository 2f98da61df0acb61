/** What leads to the KMS is the same for every command that talks to it: by the flags' definition, and by running them. */
import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { allCommands } from "../../src/cli/index.ts";
import { connectionFlags } from "../../src/cli/serve-flags.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { runProgram } from "../e2e/program.ts";
import { flagList, kmipFlagsOf, serving } from "../e2e/serving.ts";
import { fixture, keyIds, startFixtureKms } from "../etcd/fixture.ts";
import { temporaryFolder } from "../server/harness.ts";

describe("the flags that lead to a KMS are all there, with the same variables and defaults, in", () => {
  const talking = allCommands.filter(({ flags }) => Object.hasOwn(flags, "serv-addr"));
  test("six commands", () => {
    assert.deepEqual(
      talking.map(({ name }) => name),
      ["serve", "init", "check", "config", "audit", "recover"],
    );
  });
  for (const { name, flags } of talking)
    test(name, () => {
      for (const [flag, { group: _, ...expected }] of Object.entries(connectionFlags)) {
        const { group: _own, ...own } = flags[flag] ?? assert.fail(`--${flag}`);
        assert.deepEqual(own, expected, `--${flag}`);
      }
    });
});

describe("a KMS that wants a user name, has a certificate of another name, and gets an encrypted key is used by", () => {
  let kms: DevKms;
  let flags: string[];
  before(async () => {
    kms = await startFixtureKms();
    await kms.setServerCertificate({ dnsNames: ["kms.internal"], ipAddresses: [] });
    kms.faults.kmip.credential = { username: "okms", password: "hunter-2" };
    const [clientKey, keyPassword, password] = ["key.pem", "key.password", "kmip.password"].map((name) =>
      path.join(kms.folder, name),
    ) as [string, string, string];
    const { "client-key": plain, ...own } = kmipFlagsOf(kms);
    const encrypted = createPrivateKey(readFileSync(plain ?? "")).export({
      format: "pem",
      type: "pkcs8",
      cipher: "aes-256-cbc",
      passphrase: "swordfish",
    });
    for (const [file, text] of [
      [clientKey, encrypted],
      [keyPassword, "swordfish\n"],
      [password, "hunter-2\n"],
    ] as const)
      writeFileSync(file, text, { mode: 0o600 });
    flags = flagList({
      ...own,
      "encryption-key-label": "k8s-kek",
      "client-key": clientKey,
      "client-key-password-file": keyPassword,
      "serv-name": "kms.internal",
      "kmip-username": "okms",
      "kmip-password-file": password,
    });
  });
  after(() => kms.close());

  test("serve", async (t) => {
    const { program } = await serving(t, flags);
    await program.untilLogged("the key is healthy");
  });

  for (const [name, words, code, expected] of [
    ["check", [], 0, /^✔ round trip/m],
    ["init", ["--prove-only"], 0, /^✔ round trip/m],
    [
      "audit",
      ["--verify", "--snapshot", fixture.snapshot],
      1,
      /\/default\/copied: it was written under another/,
    ],
    ["recover", ["--snapshot", fixture.snapshot, "--resource", "secrets"], 1, /^kind: Secret$/m],
  ] as const)
    test(name, async (t) => {
      const sock =
        name === "check" || name === "init" ? ["--sock", path.join(temporaryFolder(t), "a.sock")] : [];
      const ran = await runProgram(t, [name, ...words, ...flags, ...sock]);
      assert.match(ran.stdout, expected, ran.stderr);
      assert.equal(ran.code, code, ran.stdout.slice(0, 2000) + ran.stderr);
    });

  test("and audit without the name says what is wrong", async (t) => {
    const at = flags.indexOf("--serv-name");
    const ran = await runProgram(t, [
      "audit",
      "--verify",
      "--snapshot",
      fixture.snapshot,
      ...flags.toSpliced(at, 2),
    ]);
    assert.equal(ran.code, 1);
    assert.match(ran.stdout + ran.stderr, /certificate/);
    assert.ok(!ran.stdout.includes(keyIds.dead));
  });
});

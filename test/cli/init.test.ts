/** `init` against the embedded KMS: the key that it makes, what it leaves alone, the rights that it finds. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import type { TestContext } from "node:test";
import path from "node:path";
import { initCommand } from "../../src/cli/init.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { temporaryFolder } from "../server/harness.ts";
import { runCommand } from "./run-command.ts";
import type { Ran } from "./run-command.ts";

let kms: DevKms;
beforeEach(async () => {
  kms = await startDevKms();
});
afterEach(() => kms.close());

function init(t: TestContext, protocol: "kmip" | "rest", ...more: readonly string[]): Promise<Ran> {
  const { cert, key, ca } = kms.clientFiles;
  return runCommand(initCommand, [
    `--protocol=${protocol}`,
    `--serv-addr=${protocol === "kmip" ? kms.kmipAddress : kms.restUrl}`,
    ...(protocol === "rest" ? [`--okms-id=${kms.okmsId}`] : []),
    "--encryption-key-label=etcd",
    `--client-cert=${cert}`,
    `--client-key=${key}`,
    `--ca=${ca}`,
    `--sock=${path.join(temporaryFolder(t), "kms.sock")}`,
    ...more,
  ]);
}

/** What is in the KMS and was not destroyed. */
function keys(): readonly { readonly names: readonly string[]; readonly state: string }[] {
  return kms.keys
    .list()
    .map(({ names, state }) => ({ names, state: String(state) }))
    .filter(({ state }) => !state.toLowerCase().includes("destroyed"));
}

describe("init over KMIP", () => {
  test("makes the key where there is none by that label, active, for Encrypt and Decrypt alone, and proves it", async (t) => {
    const { code, stdout } = await init(t, "kmip");
    assert.equal(code, 0, stdout);
    assert.match(
      stdout,
      /^✔ create +"etcd" is \S+: AES, 256 bits, for Encrypt and Decrypt only, Sensitive, not Extractable, active$/m,
    );
    assert.match(stdout, /^✔ usage +Encrypt and Decrypt$/m);
    assert.match(stdout, /^✔ round trip +/m);
    assert.match(stdout, /Locate, Get Attributes, Encrypt, Decrypt/);
    assert.equal(keys().length, 1, "the key that was made to see whether it can be is gone");
  });

  test("tells the server that the key may not leave it", async (t) => {
    await init(t, "kmip");
    const [key] = kms.keys.list();
    assert.deepEqual(
      ["Sensitive", "Extractable"].map((name) => JSON.stringify(key).includes(`"${name}"`)),
      [true, true],
    );
  });

  test("leaves a key alone that is there already, and says that the certificate may do more than it needs", async (t) => {
    const { id } = kms.keys.create({ name: "etcd" });
    const { code, stdout } = await init(t, "kmip");
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^✔ create +the key exists, and is not changed$/m);
    assert.ok(stdout.includes(id));
    assert.match(
      stdout,
      /^! excess +this certificate may create and destroy keys, which serve does not need$/m,
    );
    assert.equal(keys().length, 1);
  });

  test("is content with a certificate that may not make keys, where the key is there", async (t) => {
    kms.keys.create({ name: "etcd" });
    kms.faults.refuse = { operation: "Create", reason: "PermissionDenied" };
    const { code, stdout } = await init(t, "kmip", "--prove-only");
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^✔ excess +this certificate may not create keys$/m);
  });

  test("says what to do where the certificate may not make the key", async (t) => {
    kms.faults.refuse = { operation: "Create", reason: "PermissionDenied" };
    const { code, stdout } = await init(t, "kmip");
    assert.equal(code, 1);
    assert.match(stdout, /^✖ create .*\n +→ create the key in the KMS: AES, 256 bits/m);
  });

  test("makes nothing with --prove-only", async (t) => {
    const { code, stdout } = await init(t, "kmip", "--prove-only");
    assert.equal(code, 1);
    assert.match(stdout, /^✖ create /m);
    assert.equal(kms.keys.list().length, 0);
  });
});

describe("init over REST", () => {
  test("says what to do in the console where there is no key", async (t) => {
    const { code, stdout } = await init(t, "rest");
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^✖ create .*\n +→ create the key in the console of the KMS: a service key of type oct/m,
    );
    assert.equal(kms.keys.list().length, 0);
  });

  test("proves the key that is there", async (t) => {
    kms.keys.create({ name: "etcd" });
    const { code, stdout } = await init(t, "rest");
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^✔ round trip +/m);
    assert.match(stdout, /The rights that serve needs, .*: read its description, encrypt, decrypt\./);
  });
});

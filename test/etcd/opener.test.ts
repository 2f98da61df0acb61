/** Values opened with the keys of the fixture: every undamaged one, the five damaged ones by their reasons, and no more Decrypts than DEK sources. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { EncryptedObjectSchema } from "../../gen/k8s/v1/storage_pb.ts";
import { auditCommand } from "../../src/cli/audit.ts";
import type { CliCommand } from "../../src/cli/command.ts";
import { parseKms, type KmsSettings } from "../../src/cli/etcd/kms.ts";
import { openKms, type Kms } from "../../src/cli/etcd/open-kms.ts";
import { NetworkError, ProviderError } from "../../src/errors.ts";
import { createOpener, type Opened } from "../../src/etcd/opener.ts";
import { createSnapshotSource } from "../../src/etcd/snapshot.ts";
import type { Entry } from "../../src/etcd/source.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { runCommand } from "../cli/run-command.ts";
import { flagList, kmipFlagsOf } from "../e2e/serving.ts";
import { damaged, fixture, keyIds, startFixtureKms } from "./fixture.ts";

let kms: DevKms;
before(async () => {
  kms = await startFixtureKms();
});
after(() => kms.close());

/** By the flags of serve, without a key: each value names its own. */
async function openKmsBy(): Promise<Kms> {
  const { "encryption-key-label": _unused, ...flags } = kmipFlagsOf(kms);
  let settings: KmsSettings | undefined;
  const command: CliCommand = {
    ...auditCommand,
    run({ read }) {
      settings = parseKms(read, {});
      return Promise.resolve(0);
    },
  };
  await runCommand(command, flagList(flags));
  assert.ok(settings);
  return openKms(settings);
}

async function currentEntries(): Promise<Entry[]> {
  const entries: Entry[] = [];
  const source = createSnapshotSource({ file: fixture.snapshot, prefix: "/registry" });
  for await (const entry of source.read()) if (entry.state === "current") entries.push(entry);
  return entries;
}

function reasonOf(opened: Opened): string {
  return "plaintext" in opened ? "readable" : opened.reason;
}

test("The fixture opens but for the damaged values, each with its reason, with one Decrypt for each DEK source", async () => {
  const own = await openKmsBy();
  try {
    const opener = createOpener(own.unwrap);
    const asked = kms.kmipRequests()["Decrypt"] ?? 0;
    const entries = await currentEntries();
    const opened = await Promise.all(
      entries.map(async (entry) => [entry.key, await opener.open(entry)] as const),
    );
    const failed = opened.filter(([, one]) => !["readable", "other-provider"].includes(reasonOf(one)));
    assert.deepEqual(Object.fromEntries(failed.map(([key, one]) => [key, reasonOf(one)])), damaged);
    const others = opened.filter(([, one]) => reasonOf(one) === "other-provider").map(([key]) => key);
    const names = ["team-a/cbc-1", "team-a/cbc-2", "team-b/box-1"];
    assert.deepEqual(
      others.toSorted(),
      names.map((name) => `/registry/secrets/${name}`),
    );
    assert.equal(opener.decryptCalls(), 6);
    assert.equal((kms.kmipRequests()["Decrypt"] ?? 0) - asked, 6);
    const moved = opened.find(([key]) => key === "/registry/secrets/default/copied")?.[1];
    assert.ok(moved !== undefined && "message" in moved);
    assert.match(moved.message, /\/registry\/secrets\/default\/moved-src$/);
  } finally {
    await own.close();
  }
});

describe("An opener", () => {
  test("opens nothing that was changed in any bit, moved or cut", async () => {
    const own = await openKmsBy();
    try {
      const entries = await currentEntries();
      const entry = entries.find(({ key }) => key === "/registry/secrets/team-a/a-1");
      assert.ok(entry);
      const head = Buffer.from("k8s:enc:kms:v2:okms:").length;
      const object = fromBinary(EncryptedObjectSchema, entry.value.subarray(head));
      const opener = createOpener(own.unwrap);
      assert.equal(reasonOf(await opener.open(entry)), "readable");
      const withData = (encryptedData: Uint8Array): Uint8Array =>
        Buffer.concat([
          entry.value.subarray(0, head),
          toBinary(EncryptedObjectSchema, create(EncryptedObjectSchema, { ...object, encryptedData })),
        ]);
      const data = object.encryptedData;
      await fc.assert(
        fc.asyncProperty(
          fc.nat({ max: data.length - 1 }),
          fc.integer({ min: 1, max: 255 }),
          async (at, flip) => {
            const changed = Uint8Array.from(data, (byte, index) => (index === at ? byte ^ flip : byte));
            assert.equal(
              reasonOf(await opener.open({ key: entry.key, value: withData(changed) })),
              "tag-wrong",
            );
          },
        ),
      );
      for (let length = 1; length < data.length; length += 7) {
        const opened = await opener.open({ key: entry.key, value: withData(data.subarray(0, length)) });
        assert.ok(["cut", "tag-wrong"].includes(reasonOf(opened)), `cut at ${length}`);
      }
      for (const key of [
        "/registry/secrets/team-a/a-2",
        "/registry/secrets/other/a-1",
        "/registry/configmaps/team-a/a-1",
      ])
        assert.notEqual(reasonOf(await opener.open({ key, value: entry.value })), "readable");
    } finally {
      await own.close();
    }
  });

  test("throws where the KMS cannot be asked, for that says nothing about the value", async () => {
    const lost = new NetworkError("CONNECT", "lost", { endpoint: "kms", sent: false });
    const opener = createOpener(() => Promise.reject(lost));
    const entry = (await currentEntries()).find(({ key }) => key === "/registry/secrets/team-a/a-1");
    assert.ok(entry);
    await assert.rejects(opener.open(entry), lost);
  });

  test("says what the KMS says of a DEK source", async () => {
    const entry = (await currentEntries()).find(({ key }) => key === "/registry/secrets/team-a/a-1");
    assert.ok(entry);
    for (const [error, reason] of [
      [new ProviderError("KEY_NOT_FOUND", "gone"), "key-unknown"],
      [new ProviderError("KEY_NOT_ACTIVE", "off"), "kms-refuses"],
      [new ProviderError("KEY_ACCESS_DENIED", "no"), "kms-refuses"],
      [new ProviderError("REQUEST_CIPHERTEXT_INVALID", "bad"), "kms-refuses"],
    ] as const) {
      const opened = await createOpener(() => Promise.reject(error)).open(entry);
      assert.equal(reasonOf(opened), reason);
      assert.ok("message" in opened && opened.message.includes(keyIds.a));
    }
    const short = await createOpener(() => Promise.resolve(new Uint8Array(16))).open(entry);
    assert.equal(reasonOf(short), "kms-refuses");
    assert.equal(reasonOf(await createOpener(undefined).open(entry)), "no-kms");
  });
});

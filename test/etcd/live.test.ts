/** A running etcd: three members with TLS, 10,000 objects, and what may happen while they are read. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { ProviderError } from "../../src/errors.ts";
import { createLiveSource } from "../../src/etcd/live.ts";
import { createSnapshotSource } from "../../src/etcd/snapshot.ts";
import type { Entry, Source } from "../../src/etcd/source.ts";
import { auditCommand } from "../../src/cli/audit.ts";
import { openLive } from "../../src/cli/etcd/sources.ts";
import { loadTlsMaterial, secureContextOf } from "../../src/net/tls.ts";
import { startSilentServer } from "../support/silent-server.ts";
import { createAuthority, writeClientFiles } from "../devkms/certificates.ts";
import { temporaryFolder } from "../server/harness.ts";
import { runCommand } from "../cli/run-command.ts";
import { liveValues } from "./fixture.ts";
import { type EtcdCluster, findEtcd, startEtcd } from "./real-etcd.ts";

const objects = 10_000;
const prefix = "/big";
const program = await findEtcd();
// With CI=true it must be available: starting it fails then.
const skip = program === undefined && process.env["CI"] !== "true" && "etcd is not available here";

function keyOf(index: number): string {
  return `${prefix}/secrets/default/s-${String(index).padStart(6, "0")}`;
}

function assertWhole(entries: readonly Entry[]): void {
  assert.deepEqual(
    entries.map(({ key }) => key),
    Array.from({ length: objects }, (_none, index) => keyOf(index)),
  );
  assert.ok(entries.every(({ value }, index) => Buffer.from(value).toString() === `value ${index}`));
}

/** By key, in its order. */
async function currentValues(source: Source): Promise<Map<string, Buffer>> {
  const values: [string, Buffer][] = [];
  for await (const { key, value, state } of source.read())
    if (state === "current") values.push([key, Buffer.from(value)]);
  return new Map(values.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

describe("A real etcd", { skip }, () => {
  let cluster: EtcdCluster;

  before(async () => {
    cluster = await startEtcd(program ?? "", 3);
    await cluster.put(Array.from({ length: objects }, (_none, index) => [keyOf(index), `value ${index}`]));
    await cluster.put(
      liveValues().map(({ key, value }) => [
        Buffer.from(key, "base64").toString(),
        Buffer.from(value, "base64"),
      ]),
    );
  });
  after(() => cluster.close());

  function open(change: { readonly endpoints?: readonly string[] } = {}) {
    const { cert, key, ca: cacert } = cluster.files;
    return openLive({ endpoints: cluster.endpoints, cert, key, cacert, ...change }, prefix);
  }

  /** Reads to the end; `onFirst` happens when the first entry is there. */
  async function readAll(onFirst: () => Promise<void> = () => Promise.resolve()) {
    const source = await open();
    const notes: string[] = [];
    const entries: Entry[] = [];
    for await (const entry of source.read({ onNote: (note) => void notes.push(note) })) {
      entries.push(entry);
      if (entries.length === 1) await onFirst();
    }
    return { entries, notes, facts: source.facts() };
  }

  test("gives every object once, with its revision, and says how far it is", async () => {
    const source = await open();
    const entries: Entry[] = [];
    let last = { done: 0, total: 0 };
    for await (const entry of source.read({ onProgress: (progress) => void (last = progress) }))
      entries.push(entry);
    assertWhole(entries);
    assert.ok(entries.every(({ revision }) => revision > 0));
    assert.deepEqual({ done: last.done, total: last.total }, { done: objects, total: objects });
    assert.match(source.facts().etcdVersion ?? "", /^3\.\d+\.\d+/);
  });

  test("is read at one revision, whatever is written meanwhile", async () => {
    const { entries } = await readAll(async () => {
      await cluster.put([
        [keyOf(9000), "changed"],
        [`${prefix}/secrets/default/z`, "new"],
      ]);
      await cluster.remove(keyOf(9999));
    });
    assertWhole(entries);
    await cluster.remove(`${prefix}/secrets/default/z`);
    await cluster.put([
      [keyOf(9000), "value 9000"],
      [keyOf(9999), "value 9999"],
    ]);
  });

  test("that compacts the revision meanwhile is read on at a newer one, and that is said", async () => {
    const { entries, notes } = await readAll(async () => {
      await cluster.put([[keyOf(0), "value 0"]]);
      await cluster.compact();
    });
    assertWhole(entries);
    assert.match(notes.join("\n"), /etcd has compacted revision \d+ during the read/);
  });

  test("audit reads it by etcdctl's own variables, and counts what the fixture holds", async () => {
    const { cert, key, ca } = cluster.files;
    const env = {
      ETCDCTL_ENDPOINTS: cluster.endpoints.join(",").replaceAll("https://", ""),
      ETCDCTL_CACERT: ca,
      ETCDCTL_CERT: cert,
      ETCDCTL_KEY: key,
    };
    const { code, stdout } = await runCommand(auditCommand, ["--json"], env);
    assert.equal(code, 1);
    const [source] = (
      JSON.parse(stdout) as { sources: { current: { objects: number }; coldStartDecrypts: number }[] }
    ).sources;
    assert.equal(source?.current.objects, liveValues().length);
    assert.equal(source.coldStartDecrypts, 6);
    // The flag --key is both a file and a key of the KMS.
    const flags = ["--endpoints", cluster.endpoints[0] ?? "", "--cacert", ca, "--cert", cert, "--key", key];
    const asked = await runCommand(auditCommand, [...flags, "--key", "no-such-key"]);
    assert.equal(asked.code, 0, asked.stdout);
    assert.match(asked.stdout, /key no-such-key may be destroyed/);
  });

  test("refuses a client without a certificate, and one that another authority issued", async (t) => {
    const { ca: cacert } = cluster.files;
    const stranger = await writeClientFiles(temporaryFolder(t), await createAuthority());
    for (const identity of [
      { cert: undefined, key: undefined, cacert },
      { ...stranger, cacert },
      { ...cluster.files, cacert: stranger.ca },
    ]) {
      const { cert, key } = identity;
      const source = await openLive(
        { endpoints: cluster.endpoints, cert, key, cacert: identity.cacert },
        prefix,
      );
      await assert.rejects(source.read()[Symbol.asyncIterator]().next(), (error) => {
        assert.ok(error instanceof ProviderError);
        assert.equal(error.kind, "network");
        for (const url of cluster.endpoints) assert.ok(error.message.includes(url), error.message);
        return true;
      });
    }
  });

  test("is read at the next endpoint where one takes connections and says nothing", async (t) => {
    const silent = await startSilentServer(t);
    const { cert, key, ca } = cluster.files;
    const source = createLiveSource({
      endpoints: [`https://${silent.address}`, ...cluster.endpoints],
      secureContext: secureContextOf(await loadTlsMaterial({ cert, key, ca })),
      prefix,
      timeoutMs: 1500,
    });
    const notes: string[] = [];
    const entries: Entry[] = [];
    for await (const entry of source.read({ onNote: (note) => void notes.push(note) })) entries.push(entry);
    assertWhole(entries);
    assert.match(notes[0] ?? "", new RegExp(`^https://${silent.address}: .*continued at https://`));
  });

  test("is not mixed with another cluster, whose endpoint is on the list", async () => {
    const authority = await createAuthority();
    const [one, other] = await Promise.all([
      startEtcd(program ?? "", 1, authority),
      startEtcd(program ?? "", 1, authority),
    ]);
    try {
      await one.put(Array.from({ length: 200 }, (_none, index) => [keyOf(index), "x"]));
      const { cert, key: keyFile, ca: cacert } = one.files;
      const endpoints = [...one.endpoints, ...other.endpoints];
      const source = await openLive({ endpoints, cert, key: keyFile, cacert }, prefix);
      await assert.rejects(
        async () => {
          for await (const { key } of source.read()) if (key === keyOf(0)) await one.members[0]?.kill();
        },
        (error) => {
          assert.ok(error instanceof ProviderError);
          assert.match(
            error.message,
            new RegExp(`not of one cluster: ${other.endpoints[0]} belongs to another`),
          );
          return true;
        },
      );
    } finally {
      await Promise.all([one.close(), other.close()]);
    }
  });

  test("with values of any size is the same as its own database file, once it has ended", async () => {
    const own = await startEtcd(program ?? "", 1);
    try {
      const sizes = [1, 4000, 5000, 70_000, 1_000_000, 1_000_000, 30, 300_000];
      const values = new Map(sizes.map((size, index) => [keyOf(index), randomBytes(size)]));
      for (const [key, value] of values) await own.put([[key, value]]);
      await own.put([[keyOf(100), "gone"]]);
      await own.remove(keyOf(100));
      const { cert, key: keyFile, ca: cacert } = own.files;
      const live = await openLive({ endpoints: own.endpoints, cert, key: keyFile, cacert }, prefix);
      assert.deepEqual(await currentValues(live), values);
      const [member] = own.members;
      await member?.kill("SIGTERM");
      const file = member?.database ?? "";
      assert.deepEqual(
        await currentValues(createSnapshotSource({ file, prefix, skipHashCheck: true })),
        values,
      );
    } finally {
      await own.close();
    }
  });

  // It is the last but one: a member is lost.
  test("is read on at the same revision when its leader is killed meanwhile", async () => {
    const leader = await cluster.leader();
    // The leader is the first that is asked.
    const endpoints = [leader.url, ...cluster.endpoints.filter((url) => url !== leader.url)];
    const source = await open({ endpoints });
    const entries: Entry[] = [];
    const notes: string[] = [];
    for await (const entry of source.read({ onNote: (note) => void notes.push(note) })) {
      entries.push(entry);
      if (entries.length !== 1) continue;
      await cluster.put([[keyOf(9500), "changed"]]);
      await leader.kill();
    }
    assertWhole(entries);
    assert.match(notes.join("\n"), new RegExp(`${leader.url}: .*continued at https://`));
  });

  test("that is gone altogether ends in an error that names each endpoint", async () => {
    await Promise.all(cluster.members.map((member) => member.kill()));
    const source = await open();
    await assert.rejects(source.read()[Symbol.asyncIterator]().next(), (error) => {
      assert.ok(error instanceof ProviderError);
      assert.match(error.message, /^no etcd endpoint answers: /);
      for (const url of cluster.endpoints) assert.ok(error.message.includes(`${url}: `), error.message);
      return true;
    });
  });
});

/** StorageVersionMigration: used where it is served and somebody acts on it, left where not. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { TestApiServer } from "./api-server.ts";
import { reencrypt } from "./run.ts";

test("a migration that succeeds rewrites all, without a patch, and is deleted", async (t) => {
  const api = await TestApiServer.start(t, 30);
  api.controller = "succeeds";
  const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
  assert.equal(ran.code, 0, ran.stderr);
  assert.deepEqual([api.staleCount, api.patches, api.migrations.size], [0, 0, 0]);
  assert.match(ran.stdout, /secrets +migrated +30\n/);
});

for (const [controller, message] of [
  ["absent", /no controller acts on StorageVersionMigrations \(none seen in 0\.05 s\); going on by patching/],
  ["fails", /the StorageVersionMigration failed: it broke: spec: Invalid value; going on by patching/],
] as const) {
  test(`where the controller ${controller}, that is told, and each object is patched`, async (t) => {
    const api = await TestApiServer.start(t, 30);
    api.controller = controller;
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 0, ran.stderr);
    assert.match(ran.stderr, message);
    assert.deepEqual([api.staleCount, api.patches, api.migrations.size], [0, 30, 0]);
  });

  test(`with --method migration and a controller that ${controller}, nothing is patched, and it ends with 1`, async (t) => {
    const api = await TestApiServer.start(t, 3);
    api.controller = controller;
    const ran = await reencrypt({ kubeconfig: api.kubeconfig(), method: "migration" });
    assert.deepEqual([ran.code, api.patches], [1, 0]);
  });
}

test("without the right to list and patch, a migration alone is enough", async (t) => {
  const api = await TestApiServer.start(t, 3);
  api.controller = "succeeds";
  api.denied.add("list secrets").add("patch secrets");
  const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
  assert.equal(ran.code, 0, ran.stderr);
  assert.equal(api.count("GET", /^\/api\/v1\/secrets/), 0);
  assert.match(ran.stdout, /secrets +migrated +\?/);
});

test("without the right to patch, a migration that nobody acts on ends with the rights that are missing", async (t) => {
  const api = await TestApiServer.start(t, 3);
  api.controller = "absent";
  api.denied.add("patch secrets");
  const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
  assert.equal(ran.code, 1);
  assert.match(ran.stderr, /no controller acts .*missing: patch secrets/);
});

for (const [what, change, message] of [
  [
    "the right to it is missing",
    (api: TestApiServer) => api.denied.add("create storageversionmigrations"),
    /missing rights: create storageversionmigrations\.storagemigration\.k8s\.io/,
  ],
  ["it is not served", (api: TestApiServer) => (api.controller = "none"), /does not serve it/],
] as const)
  test(`where ${what}, each object is patched; with --method migration that is told`, async (t) => {
    const api = await TestApiServer.start(t, 3);
    api.controller = "succeeds";
    change(api);
    const forced = await reencrypt({ kubeconfig: api.kubeconfig(), method: "migration" });
    assert.deepEqual([forced.code, api.patches], [1, 0]);
    assert.match(forced.stderr, message);
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.deepEqual([ran.code, api.patches], [0, 3]);
  });

test("a migration that is interrupted goes on, and the next run waits for the same one", async (t) => {
  const api = await TestApiServer.start(t, 3);
  api.controller = "runs";
  const state = path.join(api.folder, "state");
  const options = { kubeconfig: api.kubeconfig(), state };
  const running = reencrypt(options);
  while (![...api.migrations.values()].some(({ reads }) => reads > 4))
    await new Promise((resolve) => setTimeout(resolve, 5));
  process.emit("SIGINT");
  const ran = await running;
  assert.equal(ran.code, 130);
  assert.match(ran.stderr, /interrupted; run the same command again to go on/);
  const [name] = api.migrations.keys();
  const { runId } = JSON.parse(readFileSync(state, "utf8")) as { runId: string };
  assert.equal(name, `okms-reencrypt-secrets-${runId}`);

  api.controller = "succeeds";
  const again = await reencrypt(options);
  assert.equal(again.code, 0, again.stderr);
  assert.equal(api.count("POST", /storageversionmigrations$/), 2);
  assert.deepEqual([api.staleCount, api.patches, api.migrations.size], [0, 0, 0]);
});

/**
 * What kube-apiserver makes of the plugin's Status, by both of its rules for the write seed (kubernetes#138950): the
 * built program, the embedded KMS, and the fake API server, whose clock runs ahead while the plugin's stands.
 */
import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { createApiServer, type SeedPolicy, WriteSeed, writeSeedLifeMs } from "../devkms/api-server.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { flagList, flagsOf, type Protocol, serving, type Serving } from "./serving.ts";

const minuteMs = 60_000;

interface World extends Serving {
  readonly kms: DevKms;
  readonly keyId: string;
  readonly seed: WriteSeed;
}

/** The program with a healthy key, and an API server that has made its first seed. */
async function start(t: TestContext, protocol: Protocol, policy: SeedPolicy): Promise<World> {
  const kms = await startDevKms();
  t.after(() => kms.close());
  const { id: keyId } = kms.keys.create({ name: "etcd" });
  // A probe of a KMS that is away takes --timeout: shorter than the grace period.
  const timing = { "status-grace": "2s", "probe-interval": "100ms", timeout: "500ms" };
  const running = await serving(t, flagList({ ...flagsOf(protocol, kms), ...timing }));
  const api = createApiServer(running.sock);
  t.after(() => api.close());
  const seed = new WriteSeed(api, policy);
  assert.equal(await seed.poll(), undefined);
  return { ...running, kms, keyId, seed };
}

for (const protocol of ["kmip", "rest"] as const)
  describe(protocol, () => {
    for (const policy of ["any key_id", "healthy only"] as const)
      test(`while the KMS is away writes go on ${policy === "any key_id" ? "for as long as it is" : "for 3 minutes after the grace period"}, where the seed lives by ${policy}`, async (t) => {
        const { kms, program, seed } = await start(t, protocol, policy);
        await kms.stop();
        await program.untilLogged("the key cannot be probed; Status stays ok for the grace period");
        assert.equal(await seed.poll(), undefined, "in the grace period Status is ok");
        await program.untilLogged("the key cannot be probed; Status reports it");
        assert.match((await seed.poll()) ?? "", /^got unexpected healthz status: .* \[(?:CONNECT|TIMEOUT)\]/);
        await seed.advance(writeSeedLifeMs);
        assert.ok(seed.canWrite(), "3 minutes after the last ok");
        await seed.advance(10 * minuteMs);
        assert.equal(seed.canWrite(), policy === "any key_id");
        await kms.start();
        await program.untilLogged("the key is healthy", 2);
        assert.equal(await seed.poll(), undefined);
        assert.ok(seed.canWrite(), "one good Status is enough");
        assert.equal(seed.seeds, 1, "and the seed is the one from before");
      });

    for (const policy of ["any key_id", "healthy only"] as const)
      test(`a key that must not be used ends writes after 3 minutes, where the seed lives by ${policy}`, async (t) => {
        const { kms, program, keyId, seed } = await start(t, protocol, policy);
        kms.keys.update(keyId, { state: "Deactivated" });
        await program.untilLogged(
          "the key must not be used; Status and Encrypt fail, Decrypt is still tried",
        );
        assert.match((await seed.poll()) ?? "", /\[KEY_NOT_ACTIVE\]/);
        await seed.advance(writeSeedLifeMs);
        assert.ok(seed.canWrite());
        await seed.advance(1);
        assert.ok(!seed.canWrite());
        kms.keys.update(keyId, { state: "Active" });
        await program.untilLogged("the key is healthy", 2);
        await seed.poll();
        assert.ok(seed.canWrite());
        assert.equal(seed.seeds, 1);
      });
  });

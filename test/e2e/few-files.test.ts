/** A low limit of open files, and more clients than it allows: kube-apiserver's connection survives, and new ones get in. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { test } from "node:test";
import { startDevKms } from "../devkms/devkms.ts";
import { openRawConnection } from "../server/raw-http2.ts";
import { grpcClient } from "../server/harness.ts";
import { flagList, kmipFlagsOf, roundTrip, serving } from "./serving.ts";

test("with ulimit -n 64 a hundred idle clients cost nobody its connection, and are logged", async (t) => {
  const kms = await startDevKms();
  t.after(() => kms.close());
  kms.keys.create({ name: "etcd" });
  const args = [...flagList(kmipFlagsOf(kms)), "--http-addr", "127.0.0.1:0"];
  const it = await serving(t, args, { maxOpenFiles: 64 });
  const { address } = await it.program.untilLogged("the HTTP endpoint listens");
  await roundTrip(it);
  for (let index = 0; index < 100; index += 1) {
    await openRawConnection(t, it.sock);
    const scraper = connect(Number(/\d+$/.exec(String(address))?.[0]), "127.0.0.1");
    t.after(() => scraper.destroy());
    scraper.on("error", () => undefined);
    if (index % 10 !== 0) continue;
    await roundTrip(it);
    await roundTrip({ client: grpcClient(t, `unix:${it.sock}`) });
  }
  assert.ok(readdirSync(`/proc/${it.program.pid}/fd`).length < 64);
  await it.program.untilLogged("too many connections: the least useful one was closed");
});

/** The built program under load, over both protocols: what an operator does to it costs no call. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { connect } from "node:net";
import path from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createAuthority, writeCertificateFiles, writeClientFiles } from "../devkms/certificates.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import { grpcClient, temporaryFolder } from "../server/harness.ts";
import { startProgram } from "./program.ts";
import { flagList, flagsOf, roundTrip, serving, startLoad, wrap } from "./serving.ts";

for (const protocol of ["kmip", "rest"] as const)
  describe(protocol, () => {
    let kms: DevKms;

    before(async () => {
      kms = await startDevKms();
      kms.keys.create({ name: "etcd" });
    });
    afterEach(() => resetFaults(kms.faults));
    after(() => kms.close());

    test("certificates that are exchanged on disk, three times, each with a SIGHUP", async (t) => {
      const folder = temporaryFolder(t);
      const files = await writeClientFiles(folder, kms.authority);
      const own = { "client-cert": files.cert, "client-key": files.key, ca: files.ca };
      const { program, client } = await serving(t, flagList({ ...flagsOf(protocol, kms), ...own }));
      await roundTrip({ client });
      const load = startLoad(client, 8);
      for (let exchanged = 1; exchanged <= 3; exchanged += 1) {
        await writeClientFiles(folder, kms.authority);
        program.kill("SIGHUP");
        while (program.log().filter(({ msg }) => msg === "new certificate loaded").length < exchanged)
          await sleep(20);
        await sleep(200);
      }
      await load.end();
      assert.ok(load.calls() > 24, `${load.calls()} calls`);
    });

    for (const [what, isStranger] of [
      ["a certificate that the KMS does not trust", true],
      ["a CA that the KMS's certificate does not chain to", false],
    ] as const)
      test(`${what} in place of one that serves: it is refused, and a good one taken after it`, async (t) => {
        const folder = temporaryFolder(t);
        const files = await writeClientFiles(folder, kms.authority);
        const own = { "client-cert": files.cert, "client-key": files.key, ca: files.ca };
        const { program, client } = await serving(t, flagList({ ...flagsOf(protocol, kms), ...own }));
        await roundTrip({ client });
        const load = startLoad(client, 4);
        const stranger = await createAuthority({ name: "stranger" });
        const issued = await (isStranger ? stranger : kms.authority).issue({
          commonName: "client",
          client: true,
        });
        await writeCertificateFiles(folder, issued, (isStranger ? kms.authority : stranger).caPem);
        program.kill("SIGHUP");
        await program.untilLogged(/^SIGHUP: the certificate files are refused: the KMS does not accept them/);
        const soFar = load.calls();
        await writeClientFiles(folder, kms.authority);
        program.kill("SIGHUP");
        await program.untilLogged("SIGHUP: the certificate files are new, and in use");
        while (load.calls() < soFar + 20) await sleep(10);
        await load.end();
      });

    test("a first server that is out of order and says so to everything, while the second is well", async (t) => {
      const { authority, keys, okmsId } = kms;
      const first = await startDevKms({ authority, keys, rest: { okmsId } });
      t.after(() => first.close());
      const servers =
        protocol === "kmip" ? [first.kmipAddress, kms.kmipAddress] : [first.restUrl, kms.restUrl];
      const it = await serving(t, flagList({ ...flagsOf(protocol, kms), "serv-addr": servers.join(",") }));
      await roundTrip(it);
      const load = startLoad(it.client, 8);
      await sleep(300);
      first.faults.refuse = { reason: "GeneralFailure" };
      first.faults.rest = { status: 500 };
      const { reason } = await it.program.untilLogged("the KMS can't be reached");
      assert.match(String(reason), /General Failure|500/);
      const soFar = load.calls();
      while (load.calls() < soFar + 200) await sleep(10);
      await load.end();
    });

    test("SIGUSR1, on which Node would open a debugger for every user of the host", async (t) => {
      const it = await serving(t, flagList(flagsOf(protocol, kms)));
      it.program.kill("SIGUSR1");
      await it.program.untilLogged(/^SIGUSR1/);
      await roundTrip(it);
      assert.doesNotMatch(it.program.stderr(), /Debugger/);
    });

    test("a new process that takes the socket over, and the end of the old one", async (t) => {
      const old = await serving(t, flagList(flagsOf(protocol, kms)));
      await roundTrip(old);
      const load = startLoad(old.client, 8);
      const args = [...flagList(flagsOf(protocol, kms)), "--sock", old.sock, "--replace"];
      const next = startProgram(t, args);
      await next.untilLogged("the key is healthy");
      old.program.kill("SIGTERM");
      assert.equal((await old.program.ended).code, 0);
      const soFar = load.calls();
      await sleep(300);
      await load.end();
      assert.ok(load.calls() > soFar, "no call was answered by the new process");
      next.kill("SIGTERM");
      assert.equal((await next.ended).code, 0);
      assert.ok(!existsSync(old.sock));
    });

    test("a socket file that is removed: it is made again, and the connections stay", async (t) => {
      const { sock, client } = await serving(t, flagList(flagsOf(protocol, kms)));
      await roundTrip({ client });
      const load = startLoad(client, 8);
      await rm(sock);
      const removedAt = performance.now();
      while (!existsSync(sock)) await sleep(20);
      assert.ok(performance.now() - removedAt < 4000, "made again too late");
      await roundTrip({ client: grpcClient(t, `unix:${sock}`) });
      await load.end();
    });

    test("SIGTERM with 16 slow calls in flight: each is answered, then it ends with 0", async (t) => {
      const { program, sock, client } = await serving(t, flagList(flagsOf(protocol, kms)));
      await roundTrip({ client });
      kms.faults.delayMs = 500;
      const calls = Array.from({ length: 16 }, () => wrap(client, randomBytes(32)));
      await sleep(200);
      program.kill("SIGTERM");
      assert.equal((await Promise.all(calls)).length, 16);
      const { code, signal } = await program.ended;
      assert.deepEqual([code, signal], [0, null]);
      assert.ok(!existsSync(sock));
    });
  });

test("a thousand clients that connect while the process stands still wait, and are served", async (t) => {
  const kms = await startDevKms();
  t.after(() => kms.close());
  kms.keys.create({ name: "etcd" });
  const { program, sock, client } = await serving(t, flagList(flagsOf("kmip", kms)));
  program.kill("SIGSTOP");
  const waiting = Array.from({ length: 1000 }, () => connect(sock));
  t.after(() => waiting.forEach((socket) => socket.destroy()));
  await Promise.all(waiting.map((socket) => once(socket, "connect")));
  program.kill("SIGCONT");
  await roundTrip({ client });
});

test("a path whose folder is removed too is made again", async (t) => {
  const kms = await startDevKms({ rest: false });
  t.after(() => kms.close());
  kms.keys.create({ name: "etcd" });
  const folder = path.join(temporaryFolder(t), "run");
  const sock = path.join(folder, "kms.sock");
  const program = startProgram(t, [...flagList(flagsOf("kmip", kms)), "--sock", sock]);
  await program.untilLogged("the key is healthy");
  await rm(folder, { recursive: true });
  while (!existsSync(sock)) await sleep(20);
  await roundTrip({ client: grpcClient(t, `unix:${sock}`) });
});
